namespace HybridArchitectures.Training.Running;

/// <summary>Contains the state of a run after a step.</summary>
/// <param name="Step">The number of steps so far.</param>
/// <param name="TotalSteps">The total number of steps. Null if the duration is a time.</param>
/// <param name="Tokens">The number of tokens so far.</param>
/// <param name="Loss">The mean cross entropy of the steps since the last report, in nats per token.</param>
/// <param name="LearningRate">The learning rate of the step.</param>
/// <param name="GradientNorm">The norm of the gradients of the step before clipping.</param>
/// <param name="TokensPerSecond">The speed since the last report, without evaluations and checkpoints.</param>
/// <param name="Elapsed">The training time, including earlier runs if the run was resumed.</param>
/// <param name="TimeLeft">The estimated remaining time. Null if it is unknown.</param>
/// <param name="Done">The fraction of the run that is done, from 0 to 1.</param>
public sealed record TrainingProgress(
    long Step, long? TotalSteps, long Tokens, double Loss, double LearningRate, double GradientNorm, double TokensPerSecond,
    TimeSpan Elapsed, TimeSpan? TimeLeft, double Done);
