using System.CommandLine;
using HybridArchitectures.Cli.Inputs;
using HybridArchitectures.Cli.Output;
using HybridArchitectures.Cost;
using HybridArchitectures.Evaluation.Sweeps;
using HybridArchitectures.Training.Running;

namespace HybridArchitectures.Cli.Commands;

/// <summary>Implements <c>hybrid sweep</c>, which trains and measures designs with several seeds.</summary>
static class SweepCommand
{
    public static Command Create()
    {
        var file = new Argument<string?>("file")
        {
            Description = "The sweep as JSON, or as YAML (.yaml, .yml); 'hybrid new sweep.yaml --kind sweep' writes one to begin with.",
            Arity = ArgumentArity.ZeroOrOne,
        };
        var schema = new Option<bool>("--schema") { Description = "Prints the JSON schema of the file instead." };
        var merge = new Option<string[]>("--merge")
        {
            Description = "Adds the runs of these folders of other machines to the folder of the sweep first.",
            AllowMultipleArgumentsPerToken = true,
        };
        var command = GuardedCommand.Create(
            "sweep", "Trains and measures designs with several seeds. Ctrl-C saves and stops. The same command continues, "
            + "and does nothing if the sweep is complete.", "sweep.yaml");
        command.Add(file);
        command.Add(schema);
        command.Add(merge);
        command.SetGuardedAction(parsed =>
        {
            if (parsed.GetValue(schema))
            {
                Console.WriteLine(SweepFile.JsonSchema);
                return ExitCode.Success;
            }
            string path = parsed.GetValue(file) ?? throw Require.Unfit("file", "file is missing", "the file of a sweep, or --schema");
            return Run(SweepFile.Read(path), parsed.GetValue(merge) ?? []);
        }, SweepFile.KeyOf);
        return command;
    }

    static int Run(SweepFile file, string[] merged)
    {
        using var text = TextData.Load(file.Data, file.Tokenizer);
        using var signals = new StopSignals();
        var options = file.ToOptions(text);
        if (merged.Length > 0)
        {
            Sweep.Merge(merged, options.Folder);
            options = file.ToOptions(text);         // on the device of these runs
        }
        var sweep = new Sweep(options);
        if (!sweep.IsComplete) Terminal.Line($"training on {ModelPlace.Describe(options.Device!, options.ComputeType)}");
        var result = sweep.IsComplete ? sweep.Run() : Terminal.Progress(report => sweep.Run(new Reporter(report), signals.Token));
        SweepTable.Write(result);
        if (!result.IsComplete)
        {
            Terminal.Line($"not complete; the same command continues");
            return signals.Token.IsCancellationRequested ? ExitCode.Interrupted : ExitCode.Found;
        }
        Terminal.Line($"complete in {options.Folder}; next: hybrid report {options.Folder}");
        return result.Runs.Any(run => run.Training?.Failure is not null) ? ExitCode.Found : ExitCode.Success;
    }

    sealed class Reporter(Action<string, double, string> report) : IProgress<SweepProgress>
    {
        public void Report(SweepProgress value)
        {
            string text = value.Training is { } training
                ? FormattableString.Invariant($"loss {training.Loss:0.000}, {training.TokensPerSecond:0} tokens/s") : value.Phase;
            report(value.Run, value.Phase == "done" ? 1 : value.Training?.Done ?? 0.99, text + Units.TimeLeft(value.TimeLeft));
        }
    }
}
