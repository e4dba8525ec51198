using System.CommandLine;
using HybridArchitectures.Cli.Output;
using HybridArchitectures.Evaluation.Sweeps;
using HybridArchitectures.Reports.Sweeps;

namespace HybridArchitectures.Cli.Commands;

/// <summary><c>hybrid report</c>: writes the report of a sweep as one page.</summary>
static class ReportCommand
{
    public static Command Create()
    {
        var folder = new Argument<string>("folder") { Description = "The folder of a sweep." };
        var output = new Option<string?>("--out") { Description = "The folder to write. The default is 'report' in the folder of the sweep." };
        var title = new Option<string>("--title") { Description = "The title of the page.", DefaultValueFactory = _ => "Sweep" };
        var command = GuardedCommand.Create(
            "report", "Writes the report of a sweep as one HTML page without external files.", "runs/sweep --title \"Ratios\"");
        command.Add(folder);
        command.Add(output);
        command.Add(title);
        command.SetGuardedAction(parsed =>
        {
            string sweep = parsed.GetValue(folder)!, target = parsed.GetValue(output) ?? Path.Combine(sweep, "report");
            var result = Sweep.Read(sweep);
            if (result.Runs.Count == 0)
                throw Require.Unfit("folder", $"folder is '{sweep}', which contains no run of a sweep", "the folder that the file of a sweep names");
            new SweepReport(result) { Title = parsed.GetValue(title)! }.Write(target);
            Terminal.Line($"wrote {Path.Combine(target, "index.html")}");
            return ExitCode.Success;
        });
        return command;
    }
}
