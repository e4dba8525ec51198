namespace HybridArchitectures.Reports;

/// <summary>What was known at one moment of a training run.</summary>
/// <param name="Step">Optimizer steps done.</param>
/// <param name="Tokens">Tokens trained on so far.</param>
/// <param name="Seconds">Wall-clock time since training began.</param>
/// <param name="TrainingLoss">Training loss, in the report's unit: of this step, or the mean since the previous point that has one. Null where only held-out text was measured.</param>
/// <param name="HeldOutLoss">Loss on held-out text, in the report's unit; null where it was not measured.</param>
public sealed record RunPoint(long Step, long Tokens, double Seconds, double? TrainingLoss, double? HeldOutLoss = null);
