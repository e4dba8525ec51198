using HybridArchitectures.Reports;
using HybridArchitectures.Training;

namespace Quickstart;

/// <summary>How one model was trained, and what it reached on the held-out text.</summary>
sealed record ArmResult(Arm Arm, TrainingResult Training, Evaluation HeldOut)
{
    /// <summary>The median speed of training, without evaluations and checkpoints.</summary>
    public double TokensPerSecond => Training.History.Select(point => point.TokensPerSecond).Order().ElementAt(Training.History.Count / 2);

    // the final measurement is that of the table, on the same text
    public RunSummary ToSummary(IReadOnlyList<RunSample> samples) => RunSummary.FromTraining(Arm.Name, Arm.Design, Training, heldOut: HeldOut) with
    {
        Samples = samples,
        Facts = [new("peak rate", Arm.Text(Arm.Rate)), new("held-out bits per byte after 700 steps, by rate", Arm.TrialsText)],
    };
}
