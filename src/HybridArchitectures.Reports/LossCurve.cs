namespace HybridArchitectures.Reports;

/// <summary>The losses of one run over its training.</summary>
/// <param name="Name">What the legend calls the run.</param>
/// <param name="Points">In order of time.</param>
public sealed record LossCurve(string Name, IReadOnlyList<RunPoint> Points);
