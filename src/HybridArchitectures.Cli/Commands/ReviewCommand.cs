using System.CommandLine;
using HybridArchitectures.Cli.Inputs;
using HybridArchitectures.Cli.Output;
using HybridArchitectures.Review;
using HybridArchitectures.Storage;

namespace HybridArchitectures.Cli.Commands;

/// <summary>Implements <c>hybrid review</c>, which checks a design by the review rules.</summary>
static class ReviewCommand
{
    public static Command Create()
    {
        var design = new Argument<string>("design") { Description = DesignArgument.Description };
        var length = new Flag<int>("--max-length", nameof(ReviewOptions.MaxContextLength))
        {
            Description = "The maximum context length in use, in tokens. 0 means the training length.",
            DefaultValueFactory = _ => 0,
        };
        var fix = new Option<string?>("--fix") { Description = "The file to write the design to, with the safe remedies applied." };
        var command = GuardedCommand.Create("review", "Checks a design by rules, with evidence and remedy. Exit code 1 if there is an error.",
            "design.json --fix fixed.json");
        command.Add(design);
        command.Add(length);
        command.Add(fix);
        command.SetGuardedAction(parsed =>
        {
            var review = DesignArgument.Parse(parsed.GetValue(design)!).Review(new ReviewOptions { MaxContextLength = parsed.GetValue(length) });
            Terminal.Line($"{review}");
            if (parsed.GetValue(fix) is { } path) AtomicWrite.Text(path, review.Fixed().ToJson() + "\n");
            return review.Any(finding => finding.Severity == Severity.Error) ? ExitCode.Found : ExitCode.Success;
        });
        return command;
    }
}
