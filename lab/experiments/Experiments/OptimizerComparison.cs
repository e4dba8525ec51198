using System.Globalization;
using HybridArchitectures.Design;
using HybridArchitectures.Evaluation.Sweeps;
using HybridArchitectures.Training.Optimization;
using HybridArchitectures.Training.Running;
using static TorchSharp.torch;

namespace HybridArchitectures.Experiments;

/// <summary>
/// Compares Muon with AdamW on one hybrid: both with the same grid of learning rates and the same seeds, each run with its own complete schedule.
/// Muon makes a share of the steps of AdamW. If its best rate then reaches the loss of AdamW's best rate, it needs at most that share.
/// </summary>
/// <param name="data">The data.</param>
/// <param name="folder">The folder of the runs.</param>
/// <param name="device">The device.</param>
/// <param name="tiny">Whether a tiny model makes a few steps, to check that everything runs.</param>
sealed class OptimizerComparison(StudyData data, string folder, Device device, bool tiny)
{
    const string AdamW = "AdamW", Muon = "Muon", Loss = "held-out loss";

    static readonly double[] Rates = [1e-3, 2e-3, 4e-3, 8e-3];

    readonly StudySize size = tiny ? StudySize.Tiny : new();

    /// <summary>Gets the number of steps of AdamW. The default is 600.</summary>
    public int Steps { get; init; } = 600;

    /// <summary>Gets the share of the steps that Muon makes. The default is 0.75.</summary>
    public double Share { get; init; } = 0.75;

    // 26 million parameters with this vocabulary: the hybrid whose training steps the GPU benchmark times
    HybridDesign Design => (tiny ? HybridDesign.Create(32, data.Tokenizer.VocabularySize).WithAttention(4, 2).WithMamba2(8, 8)
            .WithFeedForward(FeedForwardSpec.SwiGlu(64))
        : HybridDesign.Create(512, data.Tokenizer.VocabularySize).WithAttention(8, 2).WithMamba2(64, 64)
            .WithFeedForward(FeedForwardSpec.SwiGlu(1408))).Pattern("MMTMMM").Build();

    /// <summary>Makes the runs that are missing, seed by seed. Returns true if all are complete.</summary>
    public bool Run(CancellationToken cancellation)
    {
        foreach (long seed in size.Seeds)
            foreach (double rate in Rates)
                foreach (string optimizer in (string[])[AdamW, Muon])
                {
                    if (cancellation.IsCancellationRequested) return false;
                    var sweep = new Sweep(Options(optimizer, rate, seed));
                    sweep.Run(cancellation: cancellation);
                    if (!sweep.IsComplete) return false;
                    Console.WriteLine(Line(optimizer, rate, seed));
                }
        return true;
    }

    SweepOptions Options(string optimizer, double rate, long seed)
    {
        int steps = tiny ? size.Steps : optimizer == Muon ? (int)Math.Round(Share * Steps) : Steps;
        return new()
        {
            Folder = folder, Seeds = [seed], Device = device, KeepModels = false,
            ComputeType = device.type == TorchSharp.DeviceType.CUDA ? ScalarType.BFloat16 : ScalarType.Float32,
            Designs = [new SweepDesign(Name(optimizer, rate), Design, rate)],
            Data = data.Training, HeldOut = data.HeldOut,
            Training = StudyTraining.Options(rate, size.ContextLength, size.TokensPerStep, steps) with
            {
                Optimizer = optimizer == Muon ? new MuonOptions() : new AdamWOptions(),
                EvaluationTokens = Math.Min(size.HeldOutTokens / 2, data.HeldOut.Count - 1),
            },
        };
    }

    static string Name(string optimizer, double rate) => FormattableString.Invariant($"{optimizer}, rate {rate:0.####}");

    string Line(string optimizer, double rate, long seed)
    {
        var run = Sweep.Read(folder).Runs.First(run => run.Settings.Name == Name(optimizer, rate) && run.Settings.Seed == seed);
        var training = run.Training!;
        string loss = training.Failure ?? training.HeldOutLoss[^1].Loss.ToString("f4", CultureInfo.InvariantCulture);
        return FormattableString.Invariant($"{run.Settings.Name}, seed {seed}: {training.Steps} steps, {training.Seconds:f1} s, {loss}");
    }

    /// <summary>Returns the table of the complete runs and the comparison of the best rates, in Markdown.</summary>
    public string Table()
    {
        var result = Sweep.Read(folder);
        string Cell(string optimizer, double rate) =>
            result.Designs.Contains(Name(optimizer, rate)) && result.Mean(Name(optimizer, rate), SweepRun.TrainingTask, Loss) is { } mean
                ? FormattableString.Invariant($"{mean.Value:f4}") : "-";
        var lines = new List<string>
        {
            $"| optimizer | steps | {string.Join(" | ", Rates.Select(rate => rate.ToString("0.####", CultureInfo.InvariantCulture)))} |",
            $"| --- | ---: |{string.Concat(Rates.Select(_ => " ---: |"))}",
        };
        foreach (string optimizer in (string[])[AdamW, Muon])
            lines.Add($"| {optimizer} | {(optimizer == Muon ? Math.Round(Share * Steps) : Steps)} | "
                + $"{string.Join(" | ", Rates.Select(rate => Cell(optimizer, rate)))} |");
        if (Best(result, AdamW) is { } first && Best(result, Muon) is { } second
            && result.Compare(Name(AdamW, first), Name(Muon, second), SweepRun.TrainingTask, Loss) is { } difference)
            lines.Add(FormattableString.Invariant($"\nMuon at {second:0.####} compared with AdamW at {first:0.####}, ")
                + FormattableString.Invariant($"{difference.Pairs} seeds: {difference.Difference.Value:+0.0000;-0.0000;0.0000} nats per token, ")
                + $"95 % interval {difference.Interval?.ToString() ?? "unknown"}. A negative difference means that Muon needs at most "
                + FormattableString.Invariant($"{Share:0.##} of the steps."));
        return string.Join('\n', lines);
    }

    // the rate with the minimum mean loss; a run that diverged rules its rate out
    static double? Best(SweepResult result, string optimizer)
    {
        var tried = Rates.Where(rate => result.Runs.Any(run => run.Settings.Name == Name(optimizer, rate))
            && result.Runs.Where(run => run.Settings.Name == Name(optimizer, rate)).All(run => run.Training is { Failure: null })).ToArray();
        return tried.Length == 0 ? null : tried.MinBy(rate => result.Mean(Name(optimizer, rate), SweepRun.TrainingTask, Loss)!.Value);
    }
}
