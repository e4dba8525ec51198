using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Reports.Drawing;

namespace HybridArchitectures.Reports;

/// <summary>Represents one training run in a report.</summary>
public sealed record RunSummary
{
    /// <summary>Gets or sets the name of the run, which is unique in a report.</summary>
    public required string Name { get; init; }

    /// <summary>Gets or sets the design of the model.</summary>
    public required HybridDesign Design { get; init; }

    /// <summary>Gets or sets the losses, in order of time. The default is empty.</summary>
    public IReadOnlyList<RunPoint> Points { get; init; } = [];

    /// <summary>
    /// Gets or sets the final held-out loss in the unit of the report. The default, null, means the last held-out loss in <see cref="Points"/>.
    /// </summary>
    public double? HeldOutLoss { get; init; }

    /// <summary>Gets or sets the training speed. The default, null, means tokens divided by seconds of the last point.</summary>
    public double? TokensPerSecond { get; init; }

    /// <summary>Gets or sets text that the trained model generated. The default is empty.</summary>
    public IReadOnlyList<RunSample> Samples { get; init; } = [];

    /// <summary>Gets or sets settings of this run: optimizer, batch, seed. The default is empty.</summary>
    public IReadOnlyList<ReportFact> Facts { get; init; } = [];

    /// <summary>Gets the parameters, counted from the design.</summary>
    public ParameterCount Parameters => Design.CountParameters();

    /// <summary>Gets the number of tokens trained on.</summary>
    public long Tokens => Points.Count > 0 ? Points[^1].Tokens : 0;

    /// <summary>Gets the wall-clock time of training in seconds.</summary>
    public double Seconds => Points.Count > 0 ? Points[^1].Seconds : 0;

    /// <summary>Gets <see cref="HeldOutLoss"/>, or else the last held-out loss in <see cref="Points"/>. Null if there is none.</summary>
    public double? FinalHeldOutLoss => HeldOutLoss ?? Points.LastOrDefault(point => point.HeldOutLoss is not null)?.HeldOutLoss;

    /// <summary>Gets <see cref="TokensPerSecond"/>, or else the mean over the run. Null if there is none.</summary>
    public double? MeanTokensPerSecond => TokensPerSecond ?? (Seconds > 0 ? Tokens / Seconds : null);

    internal void Check()
    {
        if (string.IsNullOrWhiteSpace(Name)) throw new ArgumentException("a run has no name", nameof(Name));
        if (Design is null) throw new ArgumentException($"run {Name} has no design", nameof(Design));
        Design.Check();
        if (Points is null || Samples is null || Facts is null)
            throw new ArgumentException($"run {Name}: Points, Samples or Facts is null; expected a list, which may be empty");
        Checks.Points(Name, Points, nameof(Points));
        if (Samples.Any(sample => sample is not { Prompt: not null, Text: not null, Settings: not null }))
            throw new ArgumentException($"run {Name} has a sample that is null", nameof(Samples));
        Checks.Facts(Name, Facts);
    }
}
