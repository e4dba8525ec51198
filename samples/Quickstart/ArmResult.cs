using HybridArchitectures.Reports;
using HybridArchitectures.Training;

namespace Quickstart;

/// <summary>How one model was trained, and what it reached on the held-out text.</summary>
sealed record ArmResult(Arm Arm, TrainingResult Training, Evaluation HeldOut)
{
    /// <summary>The median speed of training, without evaluations and checkpoints.</summary>
    public double TokensPerSecond => Training.History.Select(point => point.TokensPerSecond).Order().ElementAt(Training.History.Count / 2);

    public RunSummary ToSummary(IReadOnlyList<RunSample> samples)
    {
        static double Bits(double nats) => nats / Math.Log(2);       // a token is a byte here
        var points = Training.History.Select(at => new RunPoint(at.Step, at.Tokens, at.Elapsed.TotalSeconds, Bits(at.Loss)));
        // one measurement for the table and the curves, on the same text
        var last = new RunPoint(Training.Steps, Training.Tokens, Training.Elapsed.TotalSeconds, null, HeldOut.BitsPerByte);
        return new RunSummary
        {
            Name = Arm.Name, Design = Arm.Design, Points = [.. points, last], HeldOutLoss = HeldOut.BitsPerByte,
            TokensPerSecond = TokensPerSecond, Samples = samples,
            Facts = [new("peak rate", Arm.Text(Arm.Rate)), new("held-out bits per byte after 700 steps, by rate", Arm.TrialsText)],
        };
    }
}
