using System.CommandLine;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Cli.Inputs;
using HybridArchitectures.Cli.Output;
using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Models;
using HybridArchitectures.Training.Running;

namespace HybridArchitectures.Cli.Commands;

/// <summary><c>hybrid train</c>: trains a design, or continues a run.</summary>
static class TrainCommand
{
    public static Command Create()
    {
        var design = new Argument<string>("design") { Description = DesignArgument.Description };
        var data = new Option<string>("--data") { Description = TextData.Description, Required = true };
        var tokenizer = new Option<string?>("--tokenizer") { Description = "The file or folder of a tokenizer. The default is bytes." };
        var folder = new Option<string>("--folder") { Description = "The folder of the run. A stopped run in it continues.", Required = true };
        var flags = new TrainingFlags();
        var command = GuardedCommand.Create("train", "Trains a design on text. Ctrl-C saves and stops, and the same command continues.",
            "MMTM:width=128,heads=4,state=16,feed=256 --data documentation --folder runs/first --steps 300");
        command.Add(design);
        foreach (var option in (Option[])[data, tokenizer, folder, .. flags.All]) command.Add(option);
        command.SetGuardedAction(parsed =>
        {
            using var text = TextData.Load(parsed.GetValue(data)!, parsed.GetValue(tokenizer));
            using var signals = new StopSignals();
            string run = parsed.GetValue(folder)!;
            using var trainer = Trainer.HasCheckpoint(run) ? Resume(run, parsed.GetValue(design)!, text, saved => flags.Continue(parsed, saved,
                Terminal.Line)) : Start(DesignArgument.Parse(parsed.GetValue(design)!), text, flags.Read(parsed, run), flags.Seed(parsed));
            using var model = trainer.Model;
            var result = Terminal.Progress(report => trainer.Run(new Reporter(report), signals.Token));
            if (!result.Completed)
            {
                Terminal.Line($"stopped after step {result.Steps}, saved in {result.Checkpoint}; the same command continues");
                return ExitCode.Interrupted;
            }
            string bits = result.Final?.BitsPerByte is { } value ? FormattableString.Invariant($", {value:0.0000} bits per byte") : "";
            Terminal.Line($"{result.Steps} steps, {result.Tokens} tokens in {result.Elapsed.TotalSeconds:0} s; held-out loss "
                + $"{result.Final?.Loss:0.0000} nats per token{bits}; {result.Checkpoint}");
            return ExitCode.Success;
        });
        return command;
    }

    static Trainer Start(HybridDesign design, TextData text, TrainingOptions options, long seed)
    {
        var model = design.CreateModel(seed: seed);
        try
        {
            return new Trainer(model, text.Training, options, text.HeldOut);
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    // the run's design decides; another one on the command line would be ignored
    static Trainer Resume(string run, string design, TextData text, Func<TrainingOptions, TrainingOptions> change)
    {
        string last = Directory.GetDirectories(run, "step-*").Order(StringComparer.Ordinal).Last();
        var saved = Checkpoint.LoadDesign(last);
        // the name does not matter: a file and a pattern can describe the same design
        var differences = saved.Diff(DesignArgument.Parse(design) with { Name = saved.Name });
        if (differences.Count > 0)
            throw Require.Unfit(nameof(design), $"design is '{design}', which differs from that of the run in '{run}': "
                + $"{string.Join("; ", differences.Take(3))}{(differences.Count > 3 ? $"; and {differences.Count - 3} more" : "")}",
                "the design of the run, or another --folder");
        Terminal.Line($"going on with the run in {run}");
        return Trainer.Resume(run, text.Training, text.HeldOut, change: change);
    }

    sealed class Reporter(Action<string, double, string> report) : IProgress<TrainingProgress>
    {
        public void Report(TrainingProgress value) => report("training", value.Done,
            $"step {value.Step}, loss {value.Loss:0.000}, {value.TokensPerSecond:0} tokens/s, {Utilisation(value)}, "
                + $"{Units.Bytes(value.MemoryBytes)}{(value.TimeLeft is { } left ? $", {left:hh\\:mm\\:ss} left" : "")}");

        static string Utilisation(TrainingProgress value) => value.ModelFlopUtilisation is { } share
            ? FormattableString.Invariant($"{share:0 %} MFU") : $"{Units.Flops(value.ModelFlopsPerSecond)}/s";
    }
}
