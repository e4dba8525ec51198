namespace HybridArchitectures.Reports;

/// <summary>A held-out loss to compare with, such as that of a byte frequency table: a horizontal line in the plots, a row in the table.</summary>
/// <param name="Name">What it is.</param>
/// <param name="HeldOutLoss">In the report's unit.</param>
public sealed record Baseline(string Name, double HeldOutLoss);
