using HybridArchitectures.Design;
using HybridArchitectures.Models;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Running;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Tests.Running;

public class EvaluatorTests
{
    [Fact]
    public void The_loss_is_the_mean_over_all_tokens_however_many_rows_at_a_time()
    {
        using var model = Small.Model();
        using var data = Small.Data(100);
        var one = Evaluator.Evaluate(model, data, contextLength: 13, rows: 1);
        Assert.Equal((99, 99), (one.Tokens, one.Bytes));
        foreach (int rows in new[] { 2, 3, 100 }) Assert.Equal(one.Loss, Evaluator.Evaluate(model, data, 13, rows).Loss, 1e-6);
        using var scope = NewDisposeScope();
        var tokens = new long[100];
        data.CopyTo(0, tokens);
        double sum = 0;
        for (int start = 0; start < 99; start += 13)
        {
            var ids = tensor(tokens[start..Math.Min(start + 13, 99)]).unsqueeze(0);
            using var noGrad = no_grad();
            var logs = nn.functional.log_softmax(model.Forward(ids), -1)[0];
            for (int i = 0; i < ids.size(1); i++) sum -= logs[i, tokens[start + i + 1]].item<float>();
        }
        Assert.Equal(sum, one.Nats, 1e-3);
    }

    // Attention with a window of 1 sees the token itself alone.
    static HybridLanguageModel WithoutContext() => new HybridDesign
    {
        Width = 16, VocabularySize = Small.VocabularySize,
        Blocks = [new BlockSpec { Mixer = new AttentionSpec { Heads = 2, KeyValueHeads = 1, HeadSize = 8, Window = 1, Rotary = new RotarySpec() },
            FeedForward = FeedForwardSpec.SwiGlu(24) }],
    }.Resolve().CreateModel(seed: 3);

    [Theory]
    [InlineData(4_100, false)]
    [InlineData(4_100, true)]
    [InlineData(0, true)]
    public void The_predicted_tokens_do_not_depend_on_the_context_length(long tokens, bool separateDocuments)
    {
        using var model = WithoutContext();
        using var data = Small.Data(6001, starts: [0, 1000, 2047, 2048, 2049, 4100, 4500]);
        var first = Evaluator.Evaluate(model, data, 128, rows: 64, tokens, separateDocuments);
        Assert.Equal(first.Tokens, first.Bytes);
        if (!separateDocuments) Assert.Equal(tokens, first.Tokens);
        if (tokens == 0) Assert.Equal(6000 - 6, first.Tokens);
        // two stretches of 2050; a context beyond that tiles all of the data
        foreach (int context in new[] { 100, 512, 2050, 2051 })
        {
            var other = Evaluator.Evaluate(model, data, context, rows: Math.Max(1, 4096 / context), tokens, separateDocuments);
            Assert.Equal((first.Tokens, first.Bytes), (other.Tokens, other.Bytes));
            // rows of other lengths round otherwise
            Assert.Equal(first.Loss, other.Loss, 1e-6);
            Assert.Equal(first.StandardError!.Value, other.StandardError!.Value, 1e-6);
        }
    }

    [Fact]
    public void A_part_of_the_data_has_the_requested_number_of_tokens_spread_over_all_of_it()
    {
        using var model = WithoutContext();
        using var data = Small.Data(1001);
        var part = Evaluator.Evaluate(model, data, contextLength: 10, tokens: 205);
        Assert.Equal(205, part.Tokens);
        Assert.Equal(part, Evaluator.Evaluate(model, data, contextLength: 10, tokens: 205));
        Assert.Equal(1000, Evaluator.Evaluate(model, data, contextLength: 10, tokens: 5000).Tokens);
        Assert.Equal(3, Evaluator.Evaluate(model, data, contextLength: 10, tokens: 3).Tokens);
        Assert.Equal(1000, Evaluator.Evaluate(model, data, contextLength: 5000).Tokens);
        foreach (var (count, tokens) in new[] { (100_000L, 65_536L), (100_000L, 99_998L), (70_000L, 65_537L), (1L << 40, 1L << 24),
            (5_000_000L, 4096L), (10L, 9L), (10L, 8L) })
        {
            var stretches = new EvaluationStretches(count, tokens);
            foreach (int context in new[] { 100, 2048, 5000 }.Where(_ => count < 1 << 30))
            {
                long predicted = 0, end = -1, last = -1;
                foreach (var (start, length) in stretches.Windows(context))
                {
                    Assert.InRange(length, 1, context);
                    Assert.True(start >= end, $"{start} is before {end}");
                    end = start + length;
                    for (long at = start; at < end; at++)
                    {
                        long index = stretches.IndexOf(at);
                        if (index < 0) continue;
                        Assert.Equal(last + 1, index);
                        (last, predicted) = (index, predicted + 1);
                    }
                }
                Assert.Equal(Math.Min(tokens, count - 1), predicted);
                Assert.InRange(end, -1, count - 1);
            }
        }
        var starts = new EvaluationStretches(1 << 20, 65_536).Windows(2048).Select(window => window.Start).ToArray();
        Assert.Equal(32, starts.Length);
        Assert.All(starts.Zip(starts.Skip(1)), pair => Assert.InRange(pair.Second - pair.First, (1 << 15) - 2, (1 << 15) + 2));
    }

    [Fact]
    public void The_standard_error_is_that_of_a_mean_over_blocks()
    {
        using var model = WithoutContext();
        using var data = Small.Data(4097);
        var result = Evaluator.Evaluate(model, data, contextLength: 300);
        using var scope = NewDisposeScope();
        var tokens = new long[4097];
        data.CopyTo(0, tokens);
        var losses = model.TokenLosses(tensor(tokens[..^1]).unsqueeze(0), tensor(tokens[1..]).unsqueeze(0)).to(float64).view(8, 512).mean([1]);
        double expected = losses.std(unbiased: true).item<double>() / Math.Sqrt(8);
        Assert.Equal(expected, result.StandardError!.Value, 1e-6);
        Assert.Equal(expected / Math.Log(2), result.BitsPerByteStandardError!.Value, 1e-6);
        Assert.Null(Evaluator.Evaluate(model, data, contextLength: 300, tokens: 1).StandardError);
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
    public void Results_and_reports_are_shown_by_their_main_numbers()
    {
        Assert.Equal("1.6101 +- 0.0366 nats per token, 2.3229 bits per byte, perplexity 5.00 over 16,384 tokens",
            $"{new Evaluation(26380.012, 16384, 16384) { StandardError = 0.03662 }}");
        Assert.Equal("0.5000 nats per token, perplexity 1.65 over 4 tokens", $"{new Evaluation(2, 4, 0)}");
        var report = new TrainingProgress(100, 300, 102400, 1.74554, 0.003, 1.1, 8245.9, TimeSpan.FromSeconds(12), TimeSpan.FromSeconds(24.4), 0.33);
        Assert.Equal("step 100 of 300, loss 1.7455, learning rate 0.003, 8,246 tokens/s, 00:00:24 left", $"{report}");
        Assert.Equal("step 100, loss 1.7455, learning rate 0.003, 8,246 tokens/s", $"{report with { TotalSteps = null, TimeLeft = null }}");
    }

    [Fact]
    public void Bad_arguments_are_refused_and_cancellation_ends_it()
    {
        using var model = Small.Model();
        using var data = Small.Data(100);
        using var one = TokenDataset.FromTokens([1], Small.VocabularySize);
        Assert.Throws<ArgumentOutOfRangeException>(() => Evaluator.Evaluate(model, data, 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => Evaluator.Evaluate(model, data, 10, rows: 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => Evaluator.Evaluate(model, data, 10, tokens: -1));
        Assert.Throws<ArgumentException>(() => Evaluator.Evaluate(model, one, 10));
        Assert.Throws<OperationCanceledException>(() => Evaluator.Evaluate(model, data, 10, cancellation: new CancellationToken(true)));
    }
}
