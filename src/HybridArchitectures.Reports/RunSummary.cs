using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Reports.Drawing;

namespace HybridArchitectures.Reports;

/// <summary>One training run, as a report shows it.</summary>
public sealed record RunSummary
{
    /// <summary>What the report calls the run; no other run of the report has the same name.</summary>
    public required string Name { get; init; }

    /// <summary>The model.</summary>
    public required HybridDesign Design { get; init; }

    /// <summary>The losses, in order of time.</summary>
    public IReadOnlyList<RunPoint> Points { get; init; } = [];

    /// <summary>Final loss on held-out text, in the report's unit; null: the last measured of <see cref="Points"/>.</summary>
    public double? HeldOutLoss { get; init; }

    /// <summary>Training speed; null: tokens over seconds of the last point.</summary>
    public double? TokensPerSecond { get; init; }

    /// <summary>Text the trained model wrote.</summary>
    public IReadOnlyList<RunSample> Samples { get; init; } = [];

    /// <summary>Settings of this run: optimizer, batch, seed.</summary>
    public IReadOnlyList<ReportFact> Facts { get; init; } = [];

    /// <summary>The parameters, counted from the design.</summary>
    public ParameterCount Parameters => Design.CountParameters();

    /// <summary>Tokens trained on.</summary>
    public long Tokens => Points.Count > 0 ? Points[^1].Tokens : 0;

    /// <summary>Wall-clock seconds of training.</summary>
    public double Seconds => Points.Count > 0 ? Points[^1].Seconds : 0;

    /// <summary><see cref="HeldOutLoss"/>, or the last one measured; null if there is none.</summary>
    public double? FinalHeldOutLoss => HeldOutLoss ?? Points.LastOrDefault(point => point.HeldOutLoss is not null)?.HeldOutLoss;

    /// <summary><see cref="TokensPerSecond"/>, or the mean over the run; null if there is none.</summary>
    public double? MeanTokensPerSecond => TokensPerSecond ?? (Seconds > 0 ? Tokens / Seconds : null);

    internal void Check()
    {
        if (string.IsNullOrWhiteSpace(Name)) throw new ArgumentException("a run has no name", nameof(Name));
        if (Design is null) throw new ArgumentException($"run {Name} has no design", nameof(Design));
        Design.Check();
        if (Points is null || Samples is null || Facts is null) throw new ArgumentException($"run {Name}: points, samples and facts may be empty, not null");
        Checks.Points(Name, Points, nameof(Points));
        if (Samples.Any(sample => sample is not { Prompt: not null, Text: not null, Settings: not null }))
            throw new ArgumentException($"run {Name} has a sample that is null", nameof(Samples));
        Checks.Facts(Name, Facts);
    }
}
