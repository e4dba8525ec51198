using HybridArchitectures.Design;
using HybridArchitectures.Training.Running;

namespace HybridArchitectures.Reports.Tests;

public class RunSummaryTests
{
    static readonly HybridDesign Design = HybridDesign.Create(width: 16, vocabularySize: 256).WithAttention(heads: 2).Pattern("T").Build();

    // 100 tokens are 200 bytes: a loss of 2 ln 2 nats per token is 1 bit per byte
    static readonly Training.Running.Evaluation HeldOut = new(Nats: 200 * Math.Log(2), Tokens: 100, Bytes: 200);

    static TrainingProgress Report(long step, double loss, double speed) =>
        new(step, 20, step * 8, loss * Math.Log(2), 1e-3, 1, speed, TimeSpan.FromSeconds(step), null, step / 20.0);

    static TrainingResult Result(params EvaluationPoint[] evaluations) => new(
        true, 20, 160, TimeSpan.FromSeconds(25), [Report(5, 6, 10), Report(10, 4, 30), Report(15, 3, 20)], evaluations, null, null);

    [Fact]
    public void The_summary_of_a_run_has_its_losses_in_bits_per_byte_and_its_median_speed()
    {
        var run = RunSummary.FromTraining("run", Design, Result(new EvaluationPoint(10, 80, TimeSpan.FromSeconds(11), HeldOut)));
        Assert.Equal(1, run.HeldOutLoss!.Value, 12);
        Assert.Equal(20, run.TokensPerSecond);
        Assert.Equal([(5, 3.0, null), (10, 2.0, 1.0), (15, 1.5, (double?)null)], run.Points.Select(at =>
            ((int)at.Step, Math.Round(at.TrainingLoss!.Value, 12), at.HeldOutLoss is { } loss ? Math.Round(loss, 12) : (double?)null)));
    }

    [Fact]
    public void A_later_measurement_becomes_the_last_point()
    {
        var run = RunSummary.FromTraining("run", Design, Result(), heldOut: HeldOut);
        Assert.Equal(new RunPoint(20, 160, 25, null, run.HeldOutLoss), run.Points[^1]);
        Assert.Equal(4, run.Points.Count);
    }

    [Fact]
    public void Nats_per_token_need_no_measurement()
    {
        var run = RunSummary.FromTraining("run", Design, Result(), LossUnit.NatsPerToken);
        Assert.Null(run.HeldOutLoss);
        Assert.Equal(6 * Math.Log(2), run.Points[0].TrainingLoss!.Value, 12);
    }

    [Fact]
    public void Bits_per_byte_without_a_measurement_are_refused()
    {
        Assert.Contains("expected one, or the unit NatsPerToken",
            Assert.Throws<ArgumentException>("unit", () => RunSummary.FromTraining("run", Design, Result())).Message);
        Assert.Throws<ArgumentOutOfRangeException>("unit", () => RunSummary.FromTraining("run", Design, Result(), (LossUnit)7));
    }
}
