using HybridArchitectures.Reports;
using HybridArchitectures.Training.Running;

namespace Quickstart;

/// <summary>Contains the training result of one model and its loss on the held-out text.</summary>
sealed record ArmResult(Arm Arm, TrainingResult Training, Evaluation HeldOut)
{
    /// <summary>Gets the median training speed, without evaluations and checkpoints.</summary>
    public double TokensPerSecond => Training.History.Select(point => point.TokensPerSecond).Order().ElementAt(Training.History.Count / 2);

    // the final measurement is that of the table, on the same text
    public RunSummary ToSummary(IReadOnlyList<RunSample> samples) => RunSummary.FromTraining(Arm.Name, Arm.Design, Training, heldOut: HeldOut) with
    {
        Samples = samples,
        Facts = [new("peak rate", RateTrials.Text(Arm.Rate)), new("held-out bits per byte after 700 steps, by rate", $"{Arm.Trials}")],
    };
}
