using System.CommandLine;
using HybridArchitectures.Cli.Inputs;
using HybridArchitectures.Cli.Output;
using HybridArchitectures.Conversion;
using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Models;
using HybridArchitectures.Training.Conversion;
using HybridArchitectures.Training.Running;

namespace HybridArchitectures.Cli.Commands;

/// <summary><c>hybrid distill</c>: replaces attention layers of a model and teaches the new model what the old one predicts.</summary>
static class DistillCommand
{
    const int ScanRows = 8, StatisticsRows = 4;
    const long ScanTokens = 16_384;

    static readonly Dictionary<string, Func<AttentionSpec, MixerSpec>> Mixers = new()
    {
        ["mamba2"] = ConvertedMixers.Mamba2, ["gated-delta"] = ConvertedMixers.GatedDelta, ["kimi-delta"] = ConvertedMixers.KimiDelta,
        ["lightning"] = ConvertedMixers.LightningAttention, ["rwkv7"] = ConvertedMixers.Rwkv7,
    };

    public static Command Create()
    {
        var teacher = new Argument<string>("teacher") { Description = "The folder of the model whose attention is replaced." };
        var data = new Option<string>("--data") { Description = TextData.Description, Required = true };
        var folder = new Option<string>("--folder") { Description = "The folder of the run. A stopped run in it continues.", Required = true };
        var keep = new Option<int>("--keep")
        {
            Description = "The number of attention layers to keep: those without which the loss rises most.", Required = true,
        };
        var mixer = new Option<string>("--mixer") { Description = $"One of {string.Join(", ", Mixers.Keys)}.", DefaultValueFactory = _ => "mamba2" };
        mixer.AcceptOnlyFromAmong([.. Mixers.Keys]);
        var matching = new Option<int>("--match-steps")
        {
            Description = "The number of steps that match the new layers to the old ones.", DefaultValueFactory = _ => 60,
        };
        var share = new Flag<double>("--share", "share")
        {
            Description = "The share of the divergence from the teacher in the loss.", DefaultValueFactory = _ => 0.5,
        };
        var (flags, device) = (new TrainingFlags(), new DeviceFlag());
        var command = GuardedCommand.Create("distill", "Replaces attention layers of a model, and trains the new model to predict what the old one "
            + "predicts. Ctrl-C saves and stops, and the same command continues.",
            "runs/transformer --keep 2 --data documentation --folder runs/hybrid --steps 140");
        command.Add(teacher);
        foreach (var option in (Option[])[data, folder, keep, mixer, matching, share, .. flags.All, device.Option]) command.Add(option);
        command.SetGuardedAction(parsed =>
        {
            var place = device.Read(parsed);
            using var loaded = LoadedModel.Open(parsed.GetValue(teacher)!, place: place, isTrained: true);
            using var text = TextData.Load(parsed.GetValue(data)!, loaded.TokenizerFolder);
            var request = new DistillRequest(loaded.Model, text, flags.Read(parsed, parsed.GetValue(folder)!, place), parsed.GetValue(keep),
                Mixers[parsed.GetValue(mixer)!], Require.AtLeast(parsed.GetValue(matching), 0, "--match-steps"), parsed.GetValue(share));
            using var signals = new StopSignals();
            return Run(request, options => flags.Continue(parsed, options, Terminal.Line), signals.Token);
        });
        return command;
    }

    /// <summary>Contains what is distilled, and how.</summary>
    sealed record DistillRequest(HybridLanguageModel Teacher, TextData Text, TrainingOptions Options, int Keep, Func<AttentionSpec, MixerSpec> Mixer,
        int MatchSteps, double Share)
    {
        public string Folder => Options.Folder!;

        public string MatchingFolder => Path.Combine(Folder, "matching");
    }

    static int Run(DistillRequest request, Func<TrainingOptions, TrainingOptions> change, CancellationToken cancellation)
    {
        TrainingCallback[] objective = [new Distillation(request.Teacher, request.Share)];
        if (Trainer.HasCheckpoint(request.Folder))
        {
            using var resumed = Trainer.Resume(request.Folder, request.Text.Training, request.Text.HeldOut, objective, request.Teacher.Device,
                change);
            using var saved = resumed.Model;
            return Finish(resumed, "distilling", cancellation);
        }
        using var model = Match(request, cancellation);
        if (model is null) return ExitCode.Interrupted;
        using var trainer = new Trainer(model, request.Text.Training, request.Options, request.Text.HeldOut, objective);
        return Finish(trainer, "distilling", cancellation);
    }

    // the converted model after the matching of its layers; null if that was stopped
    static HybridLanguageModel? Match(DistillRequest request, CancellationToken cancellation)
    {
        var options = request.Options with { Duration = Duration.Steps(Math.Max(1, request.MatchSteps)), Folder = request.MatchingFolder };
        TrainingCallback[] objective = [new LayerMatching(request.Teacher)];
        bool isResumed = Trainer.HasCheckpoint(request.MatchingFolder);
        var model = isResumed ? null : Convert(request, cancellation);
        if (model is not null && request.MatchSteps == 0) return model;
        using var trainer = isResumed ? Trainer.Resume(request.MatchingFolder, request.Text.Training, request.Text.HeldOut, objective,
                request.Teacher.Device)
            : new Trainer(model!, request.Text.Training, options, request.Text.HeldOut, objective);
        if (Finish(trainer, "matching layers", cancellation) == ExitCode.Success) return trainer.Model;
        trainer.Model.Dispose();
        return null;
    }

    static HybridLanguageModel Convert(DistillRequest request, CancellationToken cancellation)
    {
        var (teacher, options) = (request.Teacher, request.Options);
        Directory.CreateDirectory(request.Folder);
        // not on the held-out text, on which the result is measured
        var importance = ImportanceScan.Run(teacher, request.Text.Training, new()
        {
            ContextLength = options.ContextLength, Rows = ScanRows, Tokens = ScanTokens, File = Path.Combine(request.Folder, "importance.json"),
        }, cancellation: cancellation);
        int[] attention = [.. importance.Layers.Where(layer => teacher.Design.Blocks[layer.Layer - 1].Mixer is AttentionSpec)
            .OrderBy(layer => layer.WithoutMixer).Select(layer => layer.Layer)];
        Require.InRange(request.Keep >= 0 && request.Keep < attention.Length, "--keep", request.Keep,
            $"0 to {attention.Length - 1}, fewer than the attention layers of the model");
        Terminal.Line(importance.ToTable());
        var design = teacher.Design.Convert(attention.SkipLast(request.Keep).Order(), request.Mixer);
        using var batch = request.Text.Training.OpenReader(new(options.ContextLength, options.Seed)).ReadBatch(StatisticsRows, teacher.Device);
        var converted = teacher.Convert(design, new() { Seed = options.Seed, Statistics = AttentionStatistics.Measure(teacher, batch.Ids) });
        Terminal.Line($"{design.Pattern}: {converted.Report}");
        return converted.Model;
    }

    static int Finish(Trainer trainer, string name, CancellationToken cancellation)
    {
        Terminal.Line($"{name} on {ModelPlace.Describe(trainer.Model.Device, trainer.Model.ComputeType)}");
        if (TrainingFlags.Surplus(trainer) is { } surplus) Terminal.Line(surplus);
        var result = Terminal.Progress(report => trainer.Run(new StepReporter(report, name), cancellation));
        if (!result.Completed)
        {
            Terminal.Line($"stopped after step {result.Steps} of {name}, saved in {result.Checkpoint}; the same command continues");
            return ExitCode.Interrupted;
        }
        Terminal.Line($"{name}: {result.Steps} steps, {result.Tokens} tokens; held-out loss {result.Final?.Loss:0.0000} nats per token; "
            + $"{result.Checkpoint}");
        return ExitCode.Success;
    }

    sealed class StepReporter(Action<string, double, string> report, string name) : IProgress<TrainingProgress>
    {
        public void Report(TrainingProgress value) =>
            report(name, value.Done, $"step {value.Step}, loss {value.Loss:0.000}, {value.TokensPerSecond:0} tokens/s"
                + Units.TimeLeft(value.TimeLeft));
    }
}
