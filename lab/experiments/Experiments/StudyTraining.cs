using HybridArchitectures.Training.Optimization;
using HybridArchitectures.Training.Running;

namespace HybridArchitectures.Experiments;

/// <summary>Creates the training options that all runs of the study have in common.</summary>
static class StudyTraining
{
    /// <summary>Creates the options: a tenth of the steps warms up, a fifth cools down, and the held-out loss is measured at the end.</summary>
    /// <param name="rate">The peak learning rate.</param>
    /// <param name="contextLength">The tokens of a row.</param>
    /// <param name="tokensPerStep">The tokens of a step, rounded down to whole rows, but at least one.</param>
    /// <param name="steps">The steps.</param>
    public static TrainingOptions Options(double rate, int contextLength, int tokensPerStep, int steps) => new()
    {
        LearningRate = rate, ContextLength = contextLength, BatchSize = Math.Max(1, tokensPerStep / contextLength),
        Duration = Duration.Steps(steps), Schedule = new TrapezoidSchedule { WarmUp = 0.1, CoolDown = 0.2 },
        ReportEvery = Math.Max(1, steps / 15), EvaluateEvery = steps, CheckpointEvery = Math.Max(1, steps / 2),
    };
}
