namespace HybridArchitectures.Evaluation.Inside;

/// <summary>Contains the measurement of one checkpoint.</summary>
/// <param name="Step">The step of the checkpoint.</param>
/// <param name="Result">The measurement of the model.</param>
public sealed record InspectionPoint(long Step, InspectionResult Result);
