namespace HybridArchitectures.Evaluation.Tasks;

/// <summary>Contains the points of a curve, such as the loss by position.</summary>
/// <param name="Title">The title of the curve.</param>
/// <param name="XTitle">The title of the horizontal axis.</param>
/// <param name="YTitle">The title of the vertical axis.</param>
/// <param name="Points">The points, by increasing position.</param>
public sealed record MeasuredCurve(string Title, string XTitle, string YTitle, IReadOnlyList<CurvePoint> Points);
