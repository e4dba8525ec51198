using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Evaluation.Inference;
using HybridArchitectures.Evaluation.LongContext;
using HybridArchitectures.Evaluation.Statistics;
using HybridArchitectures.Evaluation.Tasks;
using HybridArchitectures.Models;
using HybridArchitectures.Tokenization;
using HybridArchitectures.Training.Data;

namespace HybridArchitectures.Evaluation.Tests;

public sealed class LongContextTests
{
    const string Essay = "One thing follows. Another comes after it. A third is here! What of the fourth? The end is near.";

    static IEnumerable<LongContextTask> Tasks => [new Needle(Essay), new Passkey(), .. RulerTask.All];

    [Fact]
    public void Prompts_fill_the_length_and_hold_their_answers()
    {
        foreach (var task in Tasks)
        {
            int previousLength = 0;
            foreach (int length in new[] { 2000, 4000 })
            {
                var sample = task.Create(text => text.Length, length, 0.3, new SeededRandom(5));
                Assert.InRange(sample.Prompt.Length, length * 8 / 10, length);
                Assert.True(sample.Prompt.Length > previousLength);
                previousLength = sample.Prompt.Length;
                Assert.All(sample.Answers, answer => Assert.Contains(answer, sample.Prompt));
                Assert.Equal(sample.Prompt, task.Create(text => text.Length, length, 0.3, new SeededRandom(5)).Prompt);
                Assert.NotEqual(sample.Prompt, task.Create(text => text.Length, length, 0.3, new SeededRandom(6)).Prompt);
            }
            Assert.Contains($"for {task.Name}", Assert.Throws<ArgumentOutOfRangeException>(() =>
                task.Create(text => text.Length, 40, 0, new SeededRandom(1))).Message);
        }
    }

    [Theory]
    [InlineData(0)]
    [InlineData(0.5)]
    [InlineData(1)]
    public void The_needle_is_at_its_depth(double depth)
    {
        foreach (var task in Tasks.Where(task => task.HasDepth))
        {
            var sample = task.Create(text => text.Length, 4000, depth, new SeededRandom(2));
            double place = (double)sample.Prompt.IndexOf(sample.Answers[0], StringComparison.Ordinal) / sample.Prompt.Length;
            Assert.Equal(depth, place, 0.13);
        }
    }

    [Fact]
    public void The_needles_form_is_the_papers()
    {
        var sample = new Needle(Essay).Create(text => text.Length, 600, 0, new SeededRandom(1));
        string number = sample.Answers[0];
        Assert.Matches("^[1-9][0-9]{6}$", number);
        Assert.StartsWith("<context>\nThe special magic ", sample.Prompt);
        string city = sample.Prompt.Split(' ')[3];
        Assert.Contains($"The special magic {city} number is: {number}.", sample.Prompt);
        Assert.EndsWith($"\n</context>\n\nWhat is the special magic {city} number?\nThe special magic {city} number is:", sample.Prompt);
    }

    [Fact]
    public void Variables_of_the_chain_and_no_others_are_the_answer()
    {
        var sample = new RulerTask(RulerKind.VariableTracking).Create(text => text.Length, 3000, 0, new SeededRandom(3));
        string asked = sample.Prompt[sample.Prompt.LastIndexOf("Memorize", StringComparison.Ordinal)..];
        Assert.Equal(5, sample.Answers.Count);
        var lines = asked.Split('\n').Where(line => line.StartsWith("VAR ", StringComparison.Ordinal)).ToArray();
        Assert.Equal(sample.Answers, lines.Select(line => line.Split(' ')[1]));
        for (int i = 1; i < 5; i++) Assert.EndsWith($"= VAR {sample.Answers[i - 1]}", lines[i]);
        Assert.EndsWith($"value {lines[0].Split(' ')[3]}, they are:", sample.Prompt);
    }

    [Fact]
    public void The_most_frequent_words_are_the_answer()
    {
        foreach (int length in new[] { 700, 5000 })
        {
            var sample = new RulerTask(RulerKind.FrequentWords).Create(text => text.Length, length, 0, new SeededRandom(4));
            string text = sample.Prompt[(sample.Prompt.IndexOf("coded words. ", StringComparison.Ordinal) + 13)..sample.Prompt.IndexOf('\n',
                StringComparison.Ordinal)];
            var counts = text.Split(' ').Where(word => word != "....").GroupBy(word => word).OrderByDescending(group => group.Count()).ToArray();
            Assert.Equal(sample.Answers, counts.Take(3).Select(group => group.Key));
            Assert.True(counts.Length < 4 || counts[3].Count() < counts[2].Count());
        }
    }

    [Fact]
    public void A_count_that_does_not_rise_and_lengths_beyond_memory_are_refused()
    {
        foreach (var task in Tasks)
        {
            var random = new SeededRandom(1, 0);
            Assert.Equal("count", Assert.Throws<ArgumentException>(() => task.Create(_ => 7, 1000, 0.5, random)).ParamName);
            Assert.Equal("maxTokens", Assert.Throws<ArgumentOutOfRangeException>(
                () => task.Create(text => text.Length, int.MaxValue, 0.5, random)).ParamName);
        }
    }

    [Fact]
    public void Scores_are_shares_of_answers_found()
    {
        var sample = new LongContextSample("", ["ABC", "def"]);
        Assert.Equal((0.5, 1, 0), (sample.Score("xabcx"), sample.Score("DEF and abc"), sample.Score("ab c")));
        Assert.Equal(1, (sample with { IsEveryAnswerWanted = false }).Score("abc"));
    }

    [Fact]
    public void The_reach_is_the_maximum_length_without_a_gap()
    {
        static LongContextCell Cell(int length, double depth, double score) => new(length, depth, new Estimate(score, null, 1));
        var result = new LongContextResult("t", [Cell(8, 0, 1), Cell(8, 1, 0.9), Cell(16, 0, 0.5), Cell(16, 1, 1), Cell(32, 0, 1), Cell(32, 1, 1)]);
        Assert.Equal([(8, 0.95), (16, 0.75), (32, 1)], result.ByLength());
        Assert.Equal((8, null, 32), (result.MaxLengthAt(), result.MaxLengthAt(0.97), result.MaxLengthAt(0.7)));
        var map = result.ToHeatMap();
        Assert.Equal(["0 %", "100 %"], map.Rows);
        Assert.Equal(["8", "16", "32"], map.Columns);
        Assert.Equal([0.9, 1, 1], map.Values[1]);
        Assert.Contains("0.950", new HeatMap("x", "a", ["r"], "b", ["c"], [[0.95]]).ToString());
    }

    [Fact]
    public void A_model_that_writes_the_answer_scores_and_another_does_not()
    {
        var tokenizer = new ByteTokenizer(endOfText: true);
        // the digit 7 without end
        using var model = Bigram.Create(Bigram.Table(tokenizer.VocabularySize, (':', ' ', 9), (' ', '7', 9), ('7', '7', 9)));
        var options = new LongContextOptions { Lengths = [300, 500], Depths = [0, 1], Trials = 3, BatchSize = 2, TrainingLength = 250 };
        Assert.All(new LongContextEvaluation(new Fixed("7777777"), tokenizer, options).Measure(model).Cells, cell =>
            Assert.Equal((1, 3), (cell.Score.Value, cell.Score.Count)));
        var result = new LongContextEvaluation(new Fixed("1234567"), tokenizer, options).Run(model);
        Assert.Equal(0, result.Metrics[0].Value);
        var full = new LongContextEvaluation(new Fixed("7777777"), tokenizer, options).Run(model);
        Assert.Equal(2, full.Metrics.Single(metric => metric.Name == "longest length at 0.9 over training length").Value);
    }

    sealed class Fixed(string answer) : LongContextTask
    {
        public override string Name => "fixed";

        public override string Source => "test";

        public override int MaxNewTokens => 8;

        public override bool HasDepth => true;

        public override LongContextSample Create(Func<string, int> count, int maxTokens, double depth, SeededRandom random) => new("x:", [answer]);
    }

    [Fact]
    public void Peak_memory_is_near_the_estimate_of_the_cost_model()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "the peak of resident memory is known on Linux only");
        // keys and values of 8,192 tokens: 8192 x 2 x 512 x 4 bytes = 32 MiB; the feed-forward holds 3 x 2048 x 8192 x 4 bytes = 192 MiB
        using var model = HybridDesign.Create(512, 64).WithAttention(heads: 8).WithFeedForward(FeedForwardSpec.SwiGlu(2048)).Depth(1).Build()
            .CreateModel(seed: 1);
        var row = Assert.Single(new InferenceCostTask(new() { BatchSizes = [1], PromptLength = 8192, TotalLengths = [8194] }).Measure(model));
        double ratio = (double)row.PeakBytes!.Value / row.PredictedPeakBytes;
        // tensors that are freed early make it less, temporary copies make it more
        Assert.True(ratio is > 0.3 and < 1.5, $"{row.PeakBytes} bytes; the cost model says {row.PredictedPeakBytes}");
        Assert.True(row.PeakBytes > row.CacheBytes);
    }

    // decoding one token takes a small part of the time of a prompt, by which the time of the prompt varies
    [Fact]
    public void Inference_cost_is_that_of_the_end_and_a_finite_speed_after_long_prompts()
    {
        using var model = HybridDesign.Create(16, 64).WithAttention(heads: 2).Depth(1).Build().CreateModel(seed: 1);
        var options = new InferenceCostOptions { BatchSizes = [1], PromptLength = 600, TotalLengths = [602, 605], Repetitions = 5 };
        for (int i = 0; i < 4; i++)
        {
            var rows = new InferenceCostTask(options).Measure(model);
            Assert.Equal(rows.Select(row => CacheSize.FromDesign(model.Design, row.TotalLength - 1, 1, 4).Total), rows.Select(row => row.CacheBytes));
            Assert.All(rows, row => Assert.True(double.IsFinite(row.DecodeTokensPerSecond), $"{row}"));
        }
    }

    [Fact]
    public void Inference_cost_has_the_cache_of_the_cost_model()
    {
        using var model = HybridDesign.Create(32, 64).WithAttention(heads: 2).WithMamba2(stateSize: 8, headSize: 16).Depth(2)
            .Ratio(attention: 1, ssm: 1).Build().CreateModel(seed: 1);
        var options = new InferenceCostOptions { BatchSizes = [1, 3], PromptLength = 20, TotalLengths = [24, 40], TimedSteps = 4, Repetitions = 2 };
        var rows = new InferenceCostTask(options).Measure(model);
        Assert.Equal([(1, 24), (1, 40), (3, 24), (3, 40)], rows.Select(row => (row.BatchSize, row.TotalLength)));
        Assert.All(rows, row =>
        {
            Assert.Equal(row.PredictedCacheBytes, row.CacheBytes);
            Assert.True(row.DecodeTokensPerSecond > 0 && row.PrefillTokensPerSecond > 0 && row.TimeToFirstToken > TimeSpan.Zero);
        });
        Assert.True(rows[1].CacheBytes > rows[0].CacheBytes);
        Assert.All(rows, row => Assert.True(row.PredictedPeakBytes > row.PredictedCacheBytes));
        Assert.Throws<ArgumentOutOfRangeException>(() => new InferenceCostTask(new() { PromptLength = 8, TotalLengths = [8] }).Measure(model));
        Assert.Throws<ArgumentOutOfRangeException>(() => new InferenceCostTask(new() { Repetitions = 0 }).Measure(model));
    }
}
