namespace HybridArchitectures.Training;

/// <summary>A measurement during a run.</summary>
/// <param name="Step">Steps done.</param>
/// <param name="Tokens">Tokens trained on.</param>
/// <param name="Elapsed">Time trained.</param>
/// <param name="Result">What was measured on the held-out data.</param>
public sealed record EvaluationPoint(long Step, long Tokens, TimeSpan Elapsed, Evaluation Result);
