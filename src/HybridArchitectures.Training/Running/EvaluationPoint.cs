namespace HybridArchitectures.Training.Running;

/// <summary>Contains a measurement during a run.</summary>
/// <param name="Step">The number of steps so far.</param>
/// <param name="Tokens">The number of tokens so far.</param>
/// <param name="Elapsed">The training time so far.</param>
/// <param name="Result">The result on the held-out data.</param>
public sealed record EvaluationPoint(long Step, long Tokens, TimeSpan Elapsed, Evaluation Result);
