using System.CommandLine;
using HybridArchitectures.Evaluation;
using HybridArchitectures.Reports;

namespace HybridArchitectures.Cli.Commands;

/// <summary><c>hybrid report</c>: a sweep's folder as one page.</summary>
static class ReportCommand
{
    public static Command Create()
    {
        var folder = new Argument<string>("folder") { Description = "The folder of a sweep." };
        var output = new Option<string?>("--out") { Description = "The folder to write; 'report' inside the sweep's folder if left out." };
        var title = new Option<string>("--title") { Description = "The heading.", DefaultValueFactory = _ => "Sweep" };
        var command = CommandTree.Command("report", "Writes a sweep as one HTML page that needs nothing else.", "runs/sweep --title \"Ratios\"");
        command.Add(folder);
        command.Add(output);
        command.Add(title);
        command.SetGuardedAction(parsed =>
        {
            string sweep = parsed.GetValue(folder)!, target = parsed.GetValue(output) ?? Path.Combine(sweep, "report");
            new SweepReport(Sweep.Read(sweep)) { Title = parsed.GetValue(title)! }.Write(target);
            Terminal.Line($"wrote {Path.Combine(target, "index.html")}");
            return ExitCode.Success;
        });
        return command;
    }
}
