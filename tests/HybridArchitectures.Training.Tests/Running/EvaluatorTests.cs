using static TorchSharp.torch;

namespace HybridArchitectures.Training.Tests.Running;

public class EvaluatorTests
{
    [Fact]
    public void The_loss_is_the_mean_over_all_tokens_however_many_rows_at_a_time()
    {
        using var model = Small.Model();
        using var data = Small.Data(100);
        var one = Evaluator.Evaluate(model, data, context: 13, rows: 1);
        Assert.Equal((99, 99), (one.Tokens, one.Bytes));
        foreach (int rows in new[] { 2, 3, 100 }) Assert.Equal(one.Loss, Evaluator.Evaluate(model, data, 13, rows).Loss, 1e-6);
        using var scope = NewDisposeScope();
        var tokens = new long[100];
        data.CopyTo(0, tokens);
        double sum = 0;
        for (int start = 0; start < 99; start += 13)
        {
            var ids = tensor(tokens[start..Math.Min(start + 13, 99)]).unsqueeze(0);
            using var off = no_grad();
            var logs = nn.functional.log_softmax(model.Forward(ids), -1)[0];
            for (int i = 0; i < ids.size(1); i++) sum -= logs[i, tokens[start + i + 1]].item<float>();
        }
        Assert.Equal(sum, one.Nats, 1e-3);
    }

    [Fact]
    public void A_part_of_the_data_is_whole_windows_spread_evenly()
    {
        using var model = Small.Model();
        using var data = Small.Data(1001);
        var part = Evaluator.Evaluate(model, data, context: 10, tokens: 205);
        Assert.Equal(200, part.Tokens);
        Assert.Equal(part, Evaluator.Evaluate(model, data, context: 10, tokens: 205));
        Assert.Equal(1000, Evaluator.Evaluate(model, data, context: 10, tokens: 5000).Tokens);
        Assert.Equal(10, Evaluator.Evaluate(model, data, context: 10, tokens: 3).Tokens);
        Assert.Equal(1000, Evaluator.Evaluate(model, data, context: 5000).Tokens);
    }

    [Fact]
    public void Figures_follow_from_nats_tokens_and_bytes()
    {
        var result = new Evaluation(Nats: 200, Tokens: 100, Bytes: 400);
        Assert.Equal(2, result.Loss);
        Assert.Equal(0.5 / Math.Log(2), result.BitsPerByte!.Value, 1e-12);
        Assert.Equal(Math.Exp(2), result.Perplexity, 1e-12);
        Assert.Null((result with { Bytes = 0 }).BitsPerByte);
    }

    [Fact]
    public void Bad_arguments_are_refused_and_cancellation_ends_it()
    {
        using var model = Small.Model();
        using var data = Small.Data(100);
        using var one = TokenDataset.FromTokens([1], Small.Vocabulary);
        Assert.Throws<ArgumentOutOfRangeException>(() => Evaluator.Evaluate(model, data, 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => Evaluator.Evaluate(model, data, 10, rows: 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => Evaluator.Evaluate(model, data, 10, tokens: -1));
        Assert.Throws<ArgumentException>(() => Evaluator.Evaluate(model, one, 10));
        Assert.Throws<OperationCanceledException>(() => Evaluator.Evaluate(model, data, 10, cancellation: new CancellationToken(true)));
    }
}
