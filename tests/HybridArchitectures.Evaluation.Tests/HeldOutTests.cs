using HybridArchitectures.Evaluation.HeldOut;
using HybridArchitectures.Models;
using HybridArchitectures.Training.Data;

namespace HybridArchitectures.Evaluation.Tests;

public sealed class HeldOutTests : IDisposable
{
    // after 0 comes 1 with e^2 : 1 : 1, else all are equally likely
    static readonly float[,] Logits = Bigram.Table(3, (0, 1, 2));

    readonly HybridLanguageModel model = Bigram.Create(Logits);
    readonly TokenDataset data = TokenDataset.FromTokens([0, 1, 2, 0, 2, 0, 1, 1, 0], 3, [0, 4, 5], _ => 2);

    public void Dispose()
    {
        model.Dispose();
        data.Dispose();
    }

    static double Nats(int after, int token) => -Bigram.LogProbability(Logits, after, token);

    [Fact]
    public void Loss_by_position_is_the_mean_over_windows()
    {
        var result = new PositionLossTask(data, contextLength: 4, buckets: 2, batchSize: 1).Measure(model);
        // windows read 0 1 2 0 and 2 0 1 1, and predict 1 2 0 2 and 0 1 1 0
        double[] first = [Nats(0, 1), Nats(1, 2), Nats(2, 0), Nats(0, 2)], second = [Nats(2, 0), Nats(0, 1), Nats(1, 1), Nats(1, 0)];
        Assert.Equal((first.Sum() + second.Sum()) / 8, result.Loss.Value, 1e-4);
        Assert.Equal((first.Sum() + second.Sum()) / Math.Log(2) / 16, result.BitsPerByte!.Value, 1e-4);
        Assert.Equal([(0, 2), (2, 4)], result.Buckets.Select(bucket => (bucket.Start, bucket.End)));
        double a = (first[0] + first[1]) / 2, b = (second[0] + second[1]) / 2;
        Assert.Equal((a + b) / 2, result.Buckets[0].Loss.Value, 1e-4);
        Assert.Equal(Math.Abs(a - b) / 2, result.Buckets[0].Loss.StandardError!.Value, 1e-4);
        double c = (first[2] + first[3] + second[2] + second[3]) / 4;
        Assert.Equal(c, result.Buckets[1].Loss.Value, 1e-4);
        Assert.Equal(c - (a + b) / 2, result.RiseBeyond(2)!.Value, 1e-4);
        Assert.Null(result.RiseBeyond(4));
        Assert.Equal(2, new PositionLossTask(data, 4, 2, batchSize: 3).Measure(model).Loss.Count);
        Assert.Equal(1, new PositionLossTask(data, 4, 2, maxWindows: 1).Measure(model).Loss.Count);
    }

    [Fact]
    public void Loss_by_document_reads_each_alone()
    {
        var losses = new DocumentLossTask(data, contextLength: 2).Measure(model);
        // 0 1 2 0 in windows of three tokens: 0 1 2, and 0 alone; the document of one token has no target; the same for 0 1 1 0
        Assert.Equal([0, 2], losses.Select(loss => loss.Document));
        Assert.Equal([2L, 2], losses.Select(loss => loss.Tokens));
        Assert.Equal((Nats(0, 1) + Nats(1, 2)) / 2, losses[0].Loss, 1e-4);
        Assert.Equal((Nats(0, 1) + Nats(1, 1)) / 2, losses[1].Loss, 1e-4);
        Assert.Equal(losses[0].Loss / Math.Log(2) / 2, losses[0].BitsPerByte!.Value, 1e-4);
        var whole = new DocumentLossTask(data, contextLength: 10).Measure(model);
        Assert.Equal((Nats(0, 1) + Nats(1, 2) + Nats(2, 0)) / 3, whole[0].Loss, 1e-4);
    }

    [Fact]
    public void Held_out_loss_is_that_of_the_evaluator()
    {
        var result = new HeldOutTask(data, contextLength: 8).Run(model);
        double expected = (Nats(0, 1) + Nats(1, 2) + Nats(2, 0) + Nats(0, 2) + Nats(2, 0) + Nats(0, 1) + Nats(1, 1) + Nats(1, 0)) / 8;
        Assert.Equal(expected, result.Metrics[0].Value, 1e-4);
        Assert.Equal(("bits per byte", false), (result.Metrics[1].Name, result.Metrics[1].HigherIsBetter));
        Assert.Equal(expected / Math.Log(2) / 2, result.Metrics[1].Value, 1e-4);
    }
}
