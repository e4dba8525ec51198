namespace HybridArchitectures.Reports.Page;

/// <summary>One run of a chart.</summary>
/// <param name="Name">The run's name.</param>
/// <param name="Ink">The style of its lines.</param>
/// <param name="Smooth">Points (x, y) of the smoothed training loss.</param>
/// <param name="HeldOut">Points (x, y) of the held-out loss.</param>
sealed record ChartRun(string Name, string Ink, double[][] Smooth, double[][] HeldOut);
