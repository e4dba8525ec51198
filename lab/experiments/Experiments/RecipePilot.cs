using HybridArchitectures.Models;
using HybridArchitectures.Training.Running;

namespace HybridArchitectures.Experiments;

/// <summary>
/// Measures the steps and the held-out measurement of a run with a model that is thrown away afterwards. With it, a time becomes a number of steps
/// before the run begins, so that learning rates depend on the step alone and a stopped run continues exactly.
/// </summary>
/// <param name="Step">The time of a step.</param>
/// <param name="Evaluation">The time of a held-out measurement.</param>
sealed record RecipePilot(TimeSpan Step, TimeSpan Evaluation)
{
    const int Steps = 40, ReportEvery = 10;

    /// <summary>Gets the share of the time for captures, checkpoints and fluctuations of the speed.</summary>
    const double Reserve = 0.03;

    /// <summary>Trains a model for some steps, and measures it.</summary>
    /// <param name="model">The model. It is useless afterwards.</param>
    /// <param name="data">The data.</param>
    /// <param name="options">The options of the run. Its duration and folder are not used.</param>
    /// <param name="cancellation">Ends the pilot.</param>
    /// <returns>The times, or null if the pilot was cancelled.</returns>
    public static RecipePilot? Run(HybridLanguageModel model, StudyData data, TrainingOptions options, CancellationToken cancellation)
    {
        var pilot = options with
        {
            Duration = Duration.Steps(Steps), ReportEvery = ReportEvery, EvaluateEvery = Steps / 2, CheckpointEvery = 0, Folder = null,
        };
        using var trainer = new Trainer(model, data.Training, pilot, data.HeldOut);
        var result = trainer.Run(cancellation: cancellation);
        if (!result.Completed) return null;
        // the first reports contain the load of kernels and the capture, and so does the first measurement
        double speed = result.History.TakeLast(2).Min(report => report.TokensPerSecond);
        return new(TimeSpan.FromSeconds(options.BatchSize * (double)options.ContextLength / speed),
            result.Evaluations[^1].Elapsed - result.History[^1].Elapsed);
    }

    /// <summary>Returns the number of steps that take a time, at least one.</summary>
    /// <param name="time">The time.</param>
    /// <param name="evaluations">The number of held-out measurements in it.</param>
    public long StepsIn(TimeSpan time, int evaluations) => Math.Max(1, (long)(((1 - Reserve) * time - evaluations * Evaluation) / Step));
}
