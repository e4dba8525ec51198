using HybridArchitectures.Design;
using HybridArchitectures.Evaluation.Sweeps;
using HybridArchitectures.Training.Running;

namespace SweepSample;

/// <summary>Describes one of the compared designs.</summary>
/// <param name="Design">The design, with its name.</param>
/// <param name="Trials">The nats per byte of held-out text after whole runs at several learning rates (see README.md).</param>
sealed record Arm(HybridDesign Design, RateTrials Trials)
{
    /// <summary>Specifies the number of tokens of a row.</summary>
    public const int ContextLength = 128;

    /// <summary>Specifies the number of steps of the runs that chose the rates.</summary>
    public const int TrialSteps = 400;

    /// <summary>Describes how the learning rates were chosen.</summary>
    public static readonly string RateRule = $"Each is the best of {string.Join(", ", Rates.Select(RateTrials.Text))} for its design, "
        + $"in whole runs of {TrialSteps} steps.";

    /// <summary>Gets the four designs.</summary>
    public static IReadOnlyList<Arm> All { get; } =
    [
        new(Build("TTTT", "attention"), [new(1.5e-3, 1.5140), new(3e-3, 1.5059), new(6e-3, 1.5041), new(1.2e-2, 1.6648)]),
        new(Build("MMMM", "Mamba-2"), [new(1.5e-3, 1.2715), new(3e-3, 1.2559), new(6e-3, 1.2620), new(1.2e-2, 1.2768)]),
        new(Build("MMTM", "hybrid 1:3"), [new(1.5e-3, 1.2764), new(3e-3, 1.2621), new(6e-3, 1.2754), new(1.2e-2, 1.2755)]),
        new(Build("MTMT", "hybrid 1:1"), [new(1.5e-3, 1.3022), new(3e-3, 1.2695), new(6e-3, 1.2835), new(1.2e-2, 1.2950)]),
    ];

    /// <summary>Gets the rates that were tried.</summary>
    public static IReadOnlyList<double> Rates => [1.5e-3, 3e-3, 6e-3, 1.2e-2];

    /// <summary>Gets the designs with equal numbers of parameters, each with its best rate.</summary>
    public static IReadOnlyList<SweepDesign> Designs =>
        SweepDesign.MatchSizes([.. All.Select(arm => new SweepDesign(arm.Design.Name!, arm.Design, arm.Trials.Best))]);

    /// <summary>Returns the options that all runs share. The rate is that of the design.</summary>
    public static TrainingOptions Training(Duration duration) =>
        new() { LearningRate = 3e-3, ContextLength = ContextLength, BatchSize = 8, Duration = duration, EvaluationTokens = 32_768 };

    /// <summary>Gets the rates as text: "attention 3e-3, Mamba-2 6e-3".</summary>
    public static string RatesText => string.Join(", ", All.Select(arm => $"{arm.Design.Name} {RateTrials.Text(arm.Trials.Best)}"));

    static HybridDesign Build(string pattern, string name) => HybridDesign.Create(width: 96, vocabularySize: 256)
        .WithAttention(heads: 4, keyValueHeads: 2).WithMamba2(stateSize: 16, headSize: 32).WithFeedForward(FeedForwardSpec.SwiGlu(192))
        .Pattern(pattern).Name(name).Build();
}
