using HybridArchitectures.Reports;
using HybridArchitectures.Training;

namespace Quickstart;

/// <summary>How one model was trained and what it reached on the whole held-out text; null while it is not finished.</summary>
sealed record ArmResult(Arm Arm, TrainingResult Training, Evaluation? HeldOut)
{
    public RunSummary ToSummary(IReadOnlyList<RunSample> samples)
    {
        static double Bits(double nats) => nats / Math.Log(2);       // a token is a byte here
        var points = Training.History.Select(point => new RunPoint(point.Step, point.Tokens, point.Elapsed.TotalSeconds, Bits(point.Loss)))
            .Concat(Training.Evaluations.Select(point => new RunPoint(point.Step, point.Tokens, point.Elapsed.TotalSeconds, null, point.Result.BitsPerByte)))
            .OrderBy(point => point.Step).ThenBy(point => point.HeldOutLoss is not null);
        return new RunSummary { Name = Arm.Name, Design = Arm.Design, Points = [.. points], HeldOutLoss = HeldOut?.BitsPerByte, Samples = samples };
    }
}
