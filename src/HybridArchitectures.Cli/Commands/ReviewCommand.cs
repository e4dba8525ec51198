using System.CommandLine;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Design;
using HybridArchitectures.Review;
using HybridArchitectures.Storage;

namespace HybridArchitectures.Cli.Commands;

/// <summary><c>hybrid review</c>: what is known against a design.</summary>
static class ReviewCommand
{
    public static Command Create()
    {
        var design = new Argument<string>("design") { Description = DesignArgument.Description };
        var length = new Option<int>("--max-length") { Description = "The longest text in use, in tokens; 0 for the training length.",
            DefaultValueFactory = _ => 0 };
        var fix = new Option<string?>("--fix") { Description = "Writes the design with the safe cures applied to this file." };
        var command = CommandTree.Command("review", "Says what is known against a design, with evidence and cure. Exit code 1 if there is an error.",
            "design.json --fix cured.json");
        command.Add(design);
        command.Add(length);
        command.Add(fix);
        command.SetGuardedAction(parsed =>
        {
            var review = DesignArgument.Parse(parsed.GetValue(design)!).Review(new ReviewOptions { MaxTextLength = parsed.GetValue(length) });
            Terminal.Line($"{review}");
            if (parsed.GetValue(fix) is { } path) AtomicWrite.Text(path, review.Fixed().ToJson() + "\n");
            return review.Any(finding => finding.Severity == Severity.Error) ? ExitCode.Found : ExitCode.Success;
        });
        return command;
    }
}
