namespace HybridArchitectures.Evaluation;

/// <summary>A point of a curve.</summary>
/// <param name="X">Where.</param>
/// <param name="Y">The number there.</param>
/// <param name="StandardError">Its standard error; null where it has none.</param>
public sealed record CurvePoint(double X, double Y, double? StandardError = null);
