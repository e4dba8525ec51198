using System.CommandLine;
using HybridArchitectures.Models;
using HybridArchitectures.Training;

namespace HybridArchitectures.Cli.Commands;

/// <summary><c>hybrid train</c>: trains a design, or goes on with a run.</summary>
static class TrainCommand
{
    public static Command Create()
    {
        var design = new Argument<string>("design") { Description = DesignArgument.Description };
        var data = new Option<string>("--data") { Description = TextData.Description, Required = true };
        var tokenizer = new Option<string?>("--tokenizer") { Description = "A tokenizer's file or folder; bytes if left out." };
        var folder = new Option<string>("--folder") { Description = "The run's folder; a run that was stopped there goes on.", Required = true };
        var flags = new TrainingFlags();
        var command = CommandTree.Command("train", "Trains a design on text; Ctrl-C saves, and the same command goes on.",
            "MMTM:width=128,heads=4,state=16,feed=256 --data documentation --folder runs/first --steps 300");
        command.Add(design);
        foreach (var option in (Option[])[data, tokenizer, folder, .. flags.All]) command.Add(option);
        command.SetGuardedAction(parsed =>
        {
            using var text = TextData.Load(parsed.GetValue(data)!, parsed.GetValue(tokenizer));
            using var signals = new StopSignals();
            string run = parsed.GetValue(folder)!;
            using var trainer = Trainer.HasCheckpoint(run) ? Trainer.Resume(run, text.Training, text.HeldOut)
                : new Trainer(DesignArgument.Parse(parsed.GetValue(design)!).CreateModel(seed: flags.Seed(parsed)), text.Training,
                flags.Read(parsed, run), text.HeldOut);
            using var model = trainer.Model;
            var result = Terminal.Progress(report => trainer.Run(new Reporter(report), signals.Token));
            if (!result.Completed)
            {
                Terminal.Line($"stopped after step {result.Steps}, saved in {result.Checkpoint}; the same command goes on");
                return ExitCode.Interrupted;
            }
            string bits = result.Final?.BitsPerByte is { } value ? FormattableString.Invariant($", {value:0.0000} bits per byte") : "";
            Terminal.Line($"{result.Steps} steps, {result.Tokens} tokens in {result.Elapsed.TotalSeconds:0} s; held-out loss "
                + $"{result.Final?.Loss:0.0000} nats per token{bits}; {result.Checkpoint}");
            return ExitCode.Success;
        });
        return command;
    }

    sealed class Reporter(Action<string, double, string> report) : IProgress<TrainingProgress>
    {
        public void Report(TrainingProgress value) => report("training", value.Done,
            $"step {value.Step}, loss {value.Loss:0.000}, {value.TokensPerSecond:0} "
                + $"tokens/s{(value.TimeLeft is { } left ? $", {left:hh\\:mm\\:ss} left" : "")}");
    }
}
