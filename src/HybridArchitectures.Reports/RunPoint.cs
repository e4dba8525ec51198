namespace HybridArchitectures.Reports;

/// <summary>Contains the measurements at one moment of a training run.</summary>
/// <param name="Step">The number of optimizer steps.</param>
/// <param name="Tokens">The number of tokens trained on so far.</param>
/// <param name="Seconds">The wall-clock time in seconds since training began.</param>
/// <param name="TrainingLoss">
/// The training loss in the unit of the report: of this step, or the mean since the previous point that has one. Null if only held-out text was
/// measured.
/// </param>
/// <param name="HeldOutLoss">The held-out loss in the unit of the report. The default, null, means that it was not measured.</param>
public sealed record RunPoint(long Step, long Tokens, double Seconds, double? TrainingLoss, double? HeldOutLoss = null);
