namespace HybridArchitectures.Evaluation;

/// <summary>Numbers along an axis.</summary>
/// <param name="Title">What it shows.</param>
/// <param name="XTitle">What the axis is.</param>
/// <param name="YTitle">What the numbers are.</param>
/// <param name="Points">The points, in order.</param>
public sealed record MeasuredCurve(string Title, string XTitle, string YTitle, IReadOnlyList<CurvePoint> Points);
