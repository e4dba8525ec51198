namespace HybridArchitectures.Reports.Page;

/// <summary>Contains one run of a chart.</summary>
/// <param name="Name">The name of the run.</param>
/// <param name="Ink">The style of its lines.</param>
/// <param name="Smooth">The points (x, y) of the smoothed training loss.</param>
/// <param name="HeldOut">The points (x, y) of the held-out loss.</param>
sealed record ChartRun(string Name, string Ink, double[][] Smooth, double[][] HeldOut);
