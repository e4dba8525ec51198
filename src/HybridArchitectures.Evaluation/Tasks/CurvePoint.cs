namespace HybridArchitectures.Evaluation.Tasks;

/// <summary>Represents a point of a curve.</summary>
/// <param name="X">The position on the horizontal axis.</param>
/// <param name="Y">The measured value.</param>
/// <param name="StandardError">The standard error of the value, or null if it has none.</param>
public sealed record CurvePoint(double X, double Y, double? StandardError = null);
