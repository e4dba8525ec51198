using HybridArchitectures.Generation;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Generation;

public class LogitsProcessorTests
{
    static readonly IReadOnlyList<IReadOnlyList<int>> NoHistory = [Array.Empty<int>()];

    static float[] Apply(LogitsProcessor processor, float[] scores, params int[] history)
    {
        using var scope = NewDisposeScope();
        return processor.Apply(tensor(scores).unsqueeze(0), [history]).data<float>().ToArray();
    }

    [Fact]
    public void Every_filter_keeps_at_least_the_most_probable_token()
    {
        float[] scores = [3, 1, 2, -4];
        foreach (var processor in new LogitsProcessor[] { new TopK(1), new TopP(1e-9), new MinP(1), new EpsilonCutoff(1) })
            Assert.Equal([3, float.NegativeInfinity, float.NegativeInfinity, float.NegativeInfinity], Apply(processor, scores));
        Assert.Contains(Apply(new TypicalP(1e-9), scores), float.IsFinite);
    }

    [Theory]
    [InlineData(3, ScalarType.Float32, "[1, 3] Float32 on cpu; expected [1, 4] Float32 on cpu")]
    [InlineData(4, ScalarType.Float64, "[1, 4] Float64 on cpu; expected [1, 4] Float32 on cpu")]
    public void A_rule_that_returns_other_scores_is_named(int count, ScalarType type, string expected)
    {
        var refusal = Assert.Throws<InvalidOperationException>(() => Apply(new Careless(count, type), [3, 1, 2, -4]));
        Assert.StartsWith($"Careless returned {expected}", refusal.Message);
    }

    sealed class Careless(int count, ScalarType type) : LogitsProcessor
    {
        protected override Tensor Change(Tensor scores, IReadOnlyList<IReadOnlyList<int>> history) => zeros([1, count], type);
    }

    [Fact]
    public void Filters_that_keep_all_change_nothing()
    {
        float[] scores = [3, 1, 2, -80];
        foreach (var processor in new LogitsProcessor[] { new TopK(9), new TopP(1), new MinP(0), new EpsilonCutoff(0), new TypicalP(1),
            new TemperatureScaling(1), new RepetitionPenalty(1) })
            Assert.Equal(scores, Apply(processor, scores, 1, 3));
    }

    [Fact]
    public void Tokens_already_ruled_out_stay_out()
    {
        float[] scores = [3, float.NegativeInfinity, 2, 1.5f];
        foreach (var processor in new LogitsProcessor[] { new TopK(2), new TopP(0.9), new MinP(0.1), new EpsilonCutoff(0.1), new TypicalP(0.9),
            new RepetitionPenalty(1.5), new NoRepeatNgrams(3) })
        {
            var after = Apply(processor, scores, 1, 1);
            Assert.True(float.IsNegativeInfinity(after[1]));
            Assert.Contains(after, float.IsFinite);
            Assert.DoesNotContain(after, float.IsNaN);
        }
    }

    [Fact]
    public void Runs_are_found_at_every_position()
    {
        float[] flat = [1, 1, 1, 1, 1];
        int[] RuledOut(int length, params int[] history) =>
            [.. Apply(new NoRepeatNgrams(length), flat, history).Select((score, id) => (score, id)).Where(item => item.score < 0)
            .Select(item => item.id)];
        Assert.Equal([3], RuledOut(3, 1, 2, 3, 1, 2));
        Assert.Equal([3, 4], RuledOut(2, 1, 3, 1, 4, 1));
        Assert.Equal([2], RuledOut(2, 2, 2));
        Assert.Equal([1, 2], RuledOut(1, 1, 2, 1));
        Assert.Empty(RuledOut(3, 1, 2));
        Assert.Empty(RuledOut(4, 1, 2, 3));
    }

    [Fact]
    public void Numbers_outside_their_range_are_refused_by_name()
    {
        void Refused(string name, Action make) => Assert.Equal(name, Assert.Throws<ArgumentOutOfRangeException>(make).ParamName);
        foreach (double bad in new[] { 0, -1, double.NaN, double.PositiveInfinity })
        {
            Refused("temperature", () => new TemperatureScaling(bad));
            Refused("penalty", () => new RepetitionPenalty(bad));
            Refused("probability", () => new TopP(bad));
            Refused("mass", () => new TypicalP(bad));
        }
        Refused("probability", () => new TopP(1.1));
        Refused("fraction", () => new MinP(-0.1));
        Refused("epsilon", () => new EpsilonCutoff(double.NaN));
        Refused("count", () => new TopK(0));
        Refused("length", () => new NoRepeatNgrams(0));
    }

    [Fact]
    public void Scores_of_another_form_are_refused()
    {
        using var scope = NewDisposeScope();
        var rule = new RepetitionPenalty(2);
        Assert.Contains("[4]", Assert.Throws<ArgumentException>(() => rule.Apply(zeros(4), NoHistory)).Message);
        Assert.Contains("Float64", Assert.Throws<ArgumentException>(() => rule.Apply(zeros(1, 4, ScalarType.Float64), NoHistory)).Message);
        Assert.Contains("2", Assert.Throws<ArgumentException>(() => rule.Apply(zeros(2, 4), NoHistory)).Message);
        Assert.Contains("4", Assert.Throws<ArgumentOutOfRangeException>(() => rule.Apply(zeros(1, 4), [[4]])).Message);
    }
}
