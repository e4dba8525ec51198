using System.Globalization;
using HybridArchitectures.Design;
using HybridArchitectures.Evaluation.Statistics;
using HybridArchitectures.Evaluation.Sweeps;
using HybridArchitectures.Training.Optimization;
using HybridArchitectures.Training.Running;
using static TorchSharp.torch;

namespace HybridArchitectures.Experiments;

/// <summary>
/// Measures how many steps Muon needs for the held-out loss of AdamW, on one hybrid. Each run has its own complete schedule.
/// <para>
/// 1. Both optimizers are tuned over the same learning rates with a seed that is not used again: AdamW with all steps, Muon with the largest of its
/// shares of them. Then, each tries 1/√2 and √2 times its best rate.
/// </para>
/// <para>2. With its best rate, AdamW makes all steps and Muon each of its shares, for each seed.</para>
/// <para>3. The share at which Muon has the loss of AdamW is interpolated between its shares, linear in the logarithm of the steps.</para>
/// </summary>
/// <param name="data">The data.</param>
/// <param name="folder">The folder of the runs.</param>
/// <param name="device">The device.</param>
/// <param name="tiny">Whether a tiny model makes a few steps, to check that everything runs.</param>
sealed class OptimizerComparison(StudyData data, string folder, Device device, bool tiny)
{
    const string AdamW = "AdamW", Muon = "Muon", Tuning = "tuning: ", Loss = "held-out loss";
    const long TuningSeed = 0;

    static readonly double[] Rates = [1e-3, 2e-3, 4e-3, 8e-3];

    readonly StudySize size = tiny ? StudySize.Tiny : new();

    /// <summary>Gets the number of steps of AdamW. The default is 800.</summary>
    public int Steps { get; init; } = 800;

    /// <summary>Gets the shares of the steps that Muon makes, in ascending order. The default is 0.5 and 0.75.</summary>
    public IReadOnlyList<double> Shares { get; init; } = [0.5, 0.75];

    /// <summary>Gets the constants of Muon. The default contains the default values.</summary>
    public MuonOptions MuonOptions { get; init; } = new();

    /// <summary>Gets the seeds of the comparison. Null, the default, means those of the study. Without any, both optimizers are only tuned.</summary>
    public IReadOnlyList<long>? Seeds { get; init; }

    IReadOnlyList<long> ComparedSeeds => Seeds ?? size.Seeds;

    /// <summary>Gets or sets the receiver of a line per run. The default prints it.</summary>
    public Action<string> Print { get; init; } = Console.WriteLine;

    // 26 million parameters with this vocabulary: the hybrid whose training steps the GPU benchmark times
    HybridDesign Design => (tiny ? HybridDesign.Create(32, data.Tokenizer.VocabularySize).WithAttention(4, 2).WithMamba2(8, 8)
            .WithFeedForward(FeedForwardSpec.SwiGlu(64))
        : HybridDesign.Create(512, data.Tokenizer.VocabularySize).WithAttention(8, 2).WithMamba2(64, 64)
            .WithFeedForward(FeedForwardSpec.SwiGlu(1408))).Pattern("MMTMMM").Build();

    /// <summary>Makes the runs that are missing. Returns true if all are complete.</summary>
    public bool Run(CancellationToken cancellation)
    {
        foreach (string optimizer in (string[])[AdamW, Muon])
        {
            if (!Tune(optimizer, Rates, cancellation)) return false;
            if (BestRate(optimizer, Rates) is { } best && !Tune(optimizer, Neighbours(best), cancellation)) return false;
        }
        if (BestRate(AdamW) is not { } first || BestRate(Muon) is not { } second) return true;
        foreach (long seed in ComparedSeeds)
        {
            if (!Train(AdamW, Steps, first, seed, cancellation)) return false;
            foreach (double share in Shares.Reverse())
                if (!Train(Muon, StepsOf(share), second, seed, cancellation)) return false;
        }
        return true;
    }

    bool Tune(string optimizer, IEnumerable<double> rates, CancellationToken cancellation) =>
        rates.All(rate => Train(optimizer, TunedSteps(optimizer), rate, TuningSeed, cancellation));

    static double[] Neighbours(double rate) => [Math.Round(rate / Math.Sqrt(2), 4), Math.Round(rate * Math.Sqrt(2), 4)];

    int StepsOf(double share) => Math.Max(1, (int)Math.Round(share * Steps));

    int TunedSteps(string optimizer) => optimizer == AdamW ? Steps : StepsOf(Shares[^1]);

    bool Train(string optimizer, int steps, double rate, long seed, CancellationToken cancellation)
    {
        if (cancellation.IsCancellationRequested) return false;
        var sweep = new Sweep(Options(optimizer, steps, rate, seed));
        sweep.Run(cancellation: cancellation);
        if (!sweep.IsComplete) return false;
        Print(Line(Name(optimizer, steps, rate, seed), seed));
        return true;
    }

    SweepOptions Options(string optimizer, int steps, double rate, long seed) => new()
    {
        Folder = folder, Seeds = [seed], Device = device, KeepModels = false,
        ComputeType = device.type == TorchSharp.DeviceType.CUDA ? ScalarType.BFloat16 : ScalarType.Float32,
        Designs = [new SweepDesign(Name(optimizer, steps, rate, seed), Design, rate)],
        Data = data.Training, HeldOut = data.HeldOut,
        Training = StudyTraining.Options(rate, size.ContextLength, size.TokensPerStep, steps) with
        {
            Optimizer = optimizer == Muon ? MuonOptions : new AdamWOptions(),
            EvaluationTokens = Math.Min(size.HeldOutTokens / 2, data.HeldOut.Count - 1),
        },
    };

    string Name(string optimizer, int steps, double rate, long seed) =>
        FormattableString.Invariant($"{(seed == TuningSeed ? Tuning : "")}{optimizer}, {steps} steps, rate {rate:0.####}")
        + (optimizer == Muon ? Constants(MuonOptions) : "");

    // empty for those of the first runs
    static string Constants(MuonOptions options) => (options.EqualNorms ? ", equal norms" : "") + (options.PerHead ? ", per head" : "")
        + (options.OthersRate != 1 ? FormattableString.Invariant($", others {options.OthersRate:0.##} times") : "")
        + (options.Momentum != 0.95 ? FormattableString.Invariant($", momentum {options.Momentum:0.###}") : "");

    string Line(string name, long seed)
    {
        var training = Sweep.Read(folder).Runs.First(run => run.Settings.Name == name && run.Settings.Seed == seed).Training!;
        string loss = training.Failure ?? training.HeldOutLoss[^1].Loss.ToString("f4", CultureInfo.InvariantCulture);
        return FormattableString.Invariant($"{name}, seed {seed}: {training.Seconds:f1} s, {loss}");
    }

    // the best rate of the tuning; null if it is not complete
    double? BestRate(string optimizer) => BestRate(optimizer, Rates) is { } coarse ? BestRate(optimizer, [.. Rates, .. Neighbours(coarse)]) : null;

    // the rate with the minimum loss of the tuning; null if every run diverged, or one is missing
    double? BestRate(string optimizer, IEnumerable<double> rates)
    {
        var losses = rates.Select(rate => (Rate: rate, Loss: Losses(optimizer, TunedSteps(optimizer), rate, TuningSeed))).ToArray();
        if (losses.Any(item => item.Loss is null)) return null;
        var sound = losses.Where(item => item.Loss!.Count > 0).ToArray();
        return sound.Length == 0 ? null : sound.MinBy(item => item.Loss![TuningSeed]).Rate;
    }

    // the losses by seed, without runs that diverged; null if there is no run
    Dictionary<long, double>? Losses(string optimizer, int steps, double rate, long seed)
    {
        string name = Name(optimizer, steps, rate, seed);
        var runs = Sweep.Read(folder).Runs.Where(run => run.Settings.Name == name && run.Training is not null).ToArray();
        return runs.Length == 0 ? null : runs.Where(run => run.Training!.Failure is null && run.Training.HeldOutLoss.Count > 0)
            .ToDictionary(run => run.Settings.Seed, run => run.Training!.HeldOutLoss[^1].Loss);
    }

    /// <summary>Returns the tables of the complete runs and the share of the steps that Muon needs, in Markdown.</summary>
    public string Table()
    {
        string[] optimizers = [AdamW, Muon];
        double[] rates = [.. optimizers.SelectMany(optimizer => BestRate(optimizer, Rates) is { } best ? Neighbours(best) : []).Concat(Rates)
            .Distinct().Order()];
        var lines = new List<string>
        {
            $"| tuning, seed {TuningSeed} | steps | {string.Join(" | ", rates.Select(Number))} |",
            $"| --- | ---: |{string.Concat(rates.Select(_ => " ---: |"))}",
        };
        foreach (string optimizer in optimizers)
        {
            int steps = TunedSteps(optimizer);
            lines.Add($"| {optimizer} | {steps} | {string.Join(" | ", rates.Select(rate => Cell(Losses(optimizer, steps, rate, TuningSeed))))} |");
        }
        if (ComparedSeeds.Count == 0) return string.Join('\n', lines);
        if (BestRate(AdamW) is { } first && BestRate(Muon) is { } second) lines.AddRange(Comparison(first, second));
        return string.Join('\n', lines);
    }

    static string Cell(Dictionary<long, double>? losses) => losses switch
    {
        null => "-",
        { Count: 0 } => "diverged",
        _ => FormattableString.Invariant($"{losses.Values.Average():f4}"),
    };

    IEnumerable<string> Comparison(double first, double second)
    {
        yield return $"\n| best rate | steps | {string.Join(" | ", ComparedSeeds.Select(seed => $"seed {seed}"))} |";
        yield return $"| --- | ---: |{string.Concat(ComparedSeeds.Select(_ => " ---: |"))}";
        var adam = Losses(AdamW, Steps, first, ComparedSeeds[0]) ?? [];
        var muon = Shares.Select(share => (Share: share, Losses: Losses(Muon, StepsOf(share), second, ComparedSeeds[0]) ?? [])).ToArray();
        string Row(string optimizer, double rate, int steps, Dictionary<long, double> losses) =>
            FormattableString.Invariant($"| {optimizer}, {rate:0.####} | {steps} | ")
            + string.Join(" | ", ComparedSeeds.Select(seed => Cell(losses.TryGetValue(seed, out double loss) ? new() { [seed] = loss } : null)))
            + " |";
        yield return Row(AdamW, first, Steps, adam);
        foreach (var (share, losses) in muon) yield return Row(Muon, second, StepsOf(share), losses);
        foreach (var (share, losses) in muon)
            if (Difference(adam, losses) is { } difference)
                yield return FormattableString.Invariant($"\nMuon with {Number(share)} of the steps: {difference.Difference.Value:+0.0000;-0.0000} ")
                    + FormattableString.Invariant($"nats per token compared with AdamW, {difference.Pairs} seeds, 95 % interval ")
                    + $"{difference.Interval?.ToString() ?? "unknown"}.";
        long[] seeds = [.. adam.Keys.Where(seed => muon.All(item => item.Losses.ContainsKey(seed))).Order()];
        double Needed(long[] of) =>
            NeededShare(of.Average(seed => adam[seed]), [.. muon.Select(item => (item.Share, of.Average(seed => item.Losses[seed])))]);
        if (seeds.Length == 0) yield break;
        yield return FormattableString.Invariant($"\nMuon needs {Number(Needed(seeds))} of the steps of AdamW for its mean loss (seeds: ")
            + $"{string.Join(", ", seeds.Select(seed => Number(Needed([seed]))))}). "
            + $"Shares below {Number(Shares[0])} or above {Number(Shares[^1])} are extrapolated.";
    }

    static string Number(double number) => number.ToString(number < 0.1 ? "0.####" : "0.##", CultureInfo.InvariantCulture);

    static PairedComparison? Difference(Dictionary<long, double> first, Dictionary<long, double> second)
    {
        long[] seeds = [.. first.Keys.Where(second.ContainsKey).Order()];
        return seeds.Length == 0 ? null
            : PairedComparison.Compare([.. seeds.Select(seed => first[seed])], [.. seeds.Select(seed => second[seed])]);
    }

    /// <summary>
    /// Returns the share of the steps at which a loss is reached, from two or more shares and their losses: interpolated between the two neighbours,
    /// linear in the logarithm of the share, or extrapolated from the two nearest. Infinity if more steps do not lower the loss there.
    /// </summary>
    public static double NeededShare(double loss, IReadOnlyList<(double Share, double Loss)> points)
    {
        int above = 0;
        while (above < points.Count - 2 && points[above + 1].Loss > loss) above++;
        var ((low, before), (high, after)) = (points[above], points[above + 1]);
        return after >= before ? double.PositiveInfinity : low * Math.Pow(high / low, (before - loss) / (before - after));
    }
}
