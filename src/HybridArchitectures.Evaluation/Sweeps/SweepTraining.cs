using HybridArchitectures.Training.Running;

namespace HybridArchitectures.Evaluation.Sweeps;

/// <summary>Contains the result of the training of a run (<c>training.json</c>).</summary>
/// <param name="Steps">The number of steps.</param>
/// <param name="Tokens">The number of training tokens.</param>
/// <param name="Seconds">The training time in seconds.</param>
/// <param name="TokensPerSecond">The number of tokens per second, including evaluations and checkpoints.</param>
/// <param name="Loss">The training loss, one point per report.</param>
/// <param name="HeldOutLoss">The held-out loss, one point per measurement.</param>
/// <param name="Failure">The reason for an early end, such as a loss that is not finite, or null if the run ended normally.</param>
public sealed record SweepTraining(
    long Steps, long Tokens, double Seconds, double TokensPerSecond, IReadOnlyList<SweepLossPoint> Loss, IReadOnlyList<SweepLossPoint> HeldOutLoss,
        string? Failure = null)
{
    // a measurement that comes with a checkpoint only is left out: a run that was stopped there lacks it
    internal static SweepTraining From(TrainingResult result, long evaluateEvery) => new(
        result.Steps, result.Tokens, result.Elapsed.TotalSeconds, result.Tokens / Math.Max(1e-9, result.Elapsed.TotalSeconds),
        [.. result.History.Select(point => new SweepLossPoint(point.Step, point.Tokens, point.Elapsed.TotalSeconds, point.Loss))],
        [.. result.Evaluations.Where(point => point.Step == result.Steps || point.Step % evaluateEvery == 0).Select(Point)]);

    static SweepLossPoint Point(EvaluationPoint point) =>
        new(point.Step, point.Tokens, point.Elapsed.TotalSeconds, point.Result.Loss, point.Result.StandardError);
}
