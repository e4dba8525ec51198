namespace HybridArchitectures.Reports;

/// <summary>
/// Represents a held-out loss to compare with, for example that of a byte frequency table. It is a horizontal line in the plots and a row in the
/// table.
/// </summary>
/// <param name="Name">The name of the baseline.</param>
/// <param name="HeldOutLoss">The loss in the unit of the report.</param>
public sealed record Baseline(string Name, double HeldOutLoss);
