using HybridArchitectures.Training.Optimization;
using HybridArchitectures.Training.Running;

namespace HybridArchitectures.Experiments;

/// <summary>Creates the training options that all runs of the study have in common.</summary>
static class StudyTraining
{
    /// <summary>
    /// Creates the options: a tenth of the steps warms up, the last fifth of all steps cools down, and the held-out loss is measured at the end.
    /// </summary>
    /// <param name="rate">The peak learning rate.</param>
    /// <param name="contextLength">The tokens of a row.</param>
    /// <param name="tokensPerStep">The tokens of a step, rounded down to whole rows, but at least one.</param>
    /// <param name="steps">The steps.</param>
    /// <param name="times">The number of times that the steps are made. The default is 1. It changes no warm-up and no interval of reports.</param>
    public static TrainingOptions Options(double rate, int contextLength, int tokensPerStep, int steps, int times = 1) => new()
    {
        LearningRate = rate, ContextLength = contextLength, BatchSize = Math.Max(1, tokensPerStep / contextLength),
        Duration = Duration.Steps(times * steps), Schedule = new TrapezoidSchedule { WarmUp = 0.1 / times, CoolDown = 0.2 },
        ReportEvery = Math.Max(1, steps / 15), EvaluateEvery = times * steps, CheckpointEvery = Math.Max(1, times * steps / 2),
    };
}
