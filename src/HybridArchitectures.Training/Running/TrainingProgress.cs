namespace HybridArchitectures.Training;

/// <summary>How a run stands after a step.</summary>
/// <param name="Step">Steps done.</param>
/// <param name="TotalSteps">Steps in all; null where time decides.</param>
/// <param name="Tokens">Tokens trained on.</param>
/// <param name="Loss">Mean cross entropy of the steps since the last report, in nats per token.</param>
/// <param name="LearningRate">The step's rate.</param>
/// <param name="GradientNorm">Norm of the step's gradients before clipping.</param>
/// <param name="TokensPerSecond">Speed since the last report, evaluations and checkpoints left out.</param>
/// <param name="Elapsed">Time trained, earlier runs of a resumed one included.</param>
/// <param name="TimeLeft">Time left, as far as can be told.</param>
/// <param name="Done">Share of the run that is done, 0 to 1.</param>
public sealed record TrainingProgress(
    long Step, long? TotalSteps, long Tokens, double Loss, double LearningRate, double GradientNorm, double TokensPerSecond,
    TimeSpan Elapsed, TimeSpan? TimeLeft, double Done);
