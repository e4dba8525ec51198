using HybridArchitectures.Evaluation.Statistics;
using HybridArchitectures.Evaluation.Tasks;

namespace HybridArchitectures.Evaluation.Tests;

public class StatisticsTests
{
    [Theory]
    [InlineData(12.7062, 1, 0.05)]
    [InlineData(4.3027, 2, 0.05)]
    [InlineData(2.5706, 5, 0.05)]
    [InlineData(2, 10, 0.07339)]
    [InlineData(0.5, 3, 0.65145)]
    [InlineData(3.3905, 1000, 0.000725)]
    public void Probabilities_of_the_t_test_are_those_of_tables(double t, int degrees, double expected)
    {
        Assert.Equal(expected, StudentT.TwoSidedP(t, degrees), 1e-5);
        Assert.Equal(expected, StudentT.TwoSidedP(-t, degrees), 1e-5);
        Assert.Equal(t, StudentT.TwoSidedQuantile(StudentT.TwoSidedP(t, degrees), degrees), 1e-9);
    }

    [Fact]
    public void An_interval_is_that_of_tables_and_excludes_0_exactly_for_a_clear_difference()
    {
        // mean 2, standard error 1 / sqrt(3), and 4.302653 for two degrees of freedom
        var interval = PairedComparison.Compare([1, 2, 3], [2, 4, 6]).Interval!;
        Assert.Equal(2 - 4.302653 / Math.Sqrt(3), interval.Low, 1e-6);
        Assert.Equal(2 + 4.302653 / Math.Sqrt(3), interval.High, 1e-6);
        Assert.Equal("[-0.4841, 4.4841]", interval.ToString());
        Assert.Null(PairedComparison.Compare([1], [2]).Interval);
        Assert.Equal(new ConfidenceInterval(1, 1), PairedComparison.Compare([1, 2], [2, 3]).Interval);
        double[] zeros = [0, 0, 0];
        for (double last = 1; last < 8; last += 0.25)
        {
            var comparison = PairedComparison.Compare(zeros, [1, 2, last]);
            Assert.Equal(comparison.IsBelowNoise, comparison.Interval!.Low <= 0 && comparison.Interval.High >= 0);
        }
    }

    [Fact]
    public void A_paired_comparison_is_that_by_hand()
    {
        var result = PairedComparison.Compare([1, 2, 3], [2, 4, 6]);
        // differences 1, 2, 3: mean 2, standard deviation 1, t = 2 sqrt(3) with two degrees of freedom
        Assert.Equal((2, 3), (result.Difference.Value, result.Pairs));
        Assert.Equal(1 / Math.Sqrt(3), result.Difference.StandardError!.Value, 12);
        Assert.Equal(StudentT.TwoSidedP(2 * Math.Sqrt(3), 2), result.TTestP!.Value, 12);
        Assert.Equal(0.07418, result.TTestP.Value, 1e-5);
        // of eight sign patterns, +++ and --- reach a sum of 6
        Assert.Equal(0.25, result.PermutationP);
        Assert.True(result.IsBelowNoise);
        Assert.Equal("2 +- 0.5774 over 3 seeds, p 0.074 (below noise)", result.Text);
    }

    [Fact]
    public void A_result_of_a_task_is_shown_by_its_numbers() => Assert.Equal("recall: accuracy 0.5 +- 0.1, loss 2 nats per target",
        $"{new TaskResult("recall", "Of 10 rows.", new Metric("accuracy", 0.5, 0.1), new Metric("loss", 2, Unit: "nats per target"))}");

    [Fact]
    public void The_text_of_a_small_p_value_is_a_bound_and_not_0()
    {
        var result = PairedComparison.Compare([3.1213, 3.1221, 3.1205], [2.4666, 2.4670, 2.4662]);
        Assert.True(result.TTestP is > 0 and < 0.0005);
        Assert.EndsWith(" over 3 seeds, p < 0.001", result.Text, StringComparison.Ordinal);
        Assert.EndsWith(", p 0.001", new PairedComparison(result.Difference, 0.001, null).Text, StringComparison.Ordinal);
    }

    [Fact]
    public void Noise_is_labelled_and_a_clear_difference_is_not()
    {
        Assert.True(PairedComparison.Compare([1], [2]).IsBelowNoise);
        Assert.Contains("1 seed (below noise)", PairedComparison.Compare([1], [2]).Text);
        Assert.False(PairedComparison.Compare([1, 2, 3, 4], [2.01, 3, 4.02, 5]).IsBelowNoise);
        Assert.True(PairedComparison.Compare([1, 2, 3, 4], [2, 1, 4, 3]).IsBelowNoise);
        // equal differences leave no doubt between seeds; none at all are no difference
        Assert.False(PairedComparison.Compare([1, 2], [2, 3]).IsBelowNoise);
        Assert.True(PairedComparison.Compare([1, 2], [1, 2]).IsBelowNoise);
        foreach (double number in (double[])[double.NaN, double.PositiveInfinity])
        {
            var unknown = PairedComparison.Compare([1, 2], [number, 3]);
            Assert.Equal((true, null, null), (unknown.IsBelowNoise, unknown.TTestP, unknown.PermutationP));
        }
        Assert.Throws<ArgumentException>(() => new HeatMap("map", "row", ["1"], "column", ["1", "2"], [[1]]));
        Assert.Throws<ArgumentException>(() => new HeatMap("map", "row", ["1", "2"], "column", ["1"], [[1]]));
        Assert.Throws<ArgumentOutOfRangeException>(() => PairedComparison.Compare([1, 2], [1]));
        double many = PairedComparison.Compare(new double[20], [.. Enumerable.Range(0, 20).Select(i => i % 2 == 0 ? 1.0 : -0.9)]).PermutationP!.Value;
        Assert.InRange(many, 0.5, 1);
    }

    [Fact]
    public void Estimates_are_means_and_ratios()
    {
        Assert.Equal(new Estimate(2, Math.Sqrt(1.0 / 3), 3), Estimate.FromSamples([1, 2, 3]));
        Assert.Null(Estimate.FromSamples([5]).StandardError);
        // sums 3 over 6; residuals 1 - 1 and 2 - 2 are 0
        var ratio = Estimate.FromRatio([(1, 2), (2, 4), (9, 0)]);
        Assert.Equal((0.5, 0.0, 2L), (ratio.Value, ratio.StandardError!.Value, ratio.Count));
        // residuals of 1/2 and -1/2: sqrt(0.5 * 2 / 1) / 2
        Assert.Equal(0.5, Estimate.FromRatio([(1, 1), (0, 1)]).StandardError!.Value, 12);
    }

    static ScalingPoint[] Points(double e, double a, double alpha, double stretch = 1, double noise = 0) =>
        [.. Enumerable.Range(0, 8).Select(i => Math.Pow(2, i) * 1e6)
            .Select((x, i) => new ScalingPoint(x, e + a * Math.Pow(x / stretch, -alpha) + (i % 2 == 0 ? noise : -noise)))];

    [Fact]
    public void A_law_is_found_again()
    {
        var fit = ScalingFit.Fit(Points(1.7, 80, 0.3));
        Assert.Equal(1.7, fit.Irreducible.Value, 1e-4);
        Assert.Equal(0.3, fit.Exponent.Value, 1e-4);
        Assert.Equal(1.7 + 80 * Math.Pow(1e10, -0.3), fit.LossAt(1e10).Value, 1e-4);
        Assert.Equal(1e9, fit.ScaleAt(1.7 + 80 * Math.Pow(1e9, -0.3)).Value, 1e6);
        Assert.Equal(double.PositiveInfinity, fit.ScaleAt(1.6).Value);
        Assert.Throws<ArgumentOutOfRangeException>(() => ScalingFit.Fit([new(1, 3), new(2, 2), new(2, 2.1)]));
    }

    [Fact]
    public void Efficiency_is_the_ratio_of_tokens_and_has_an_interval()
    {
        // the other design needs twice the tokens everywhere
        var (mine, other) = (ScalingFit.Fit(Points(1.7, 80, 0.3, noise: 1e-3), seed: 1),
            ScalingFit.Fit(Points(1.7, 80, 0.3, stretch: 2, noise: 1e-3), seed: 2));
        var ratio = mine.EfficiencyOver(other, 3e7);
        Assert.Equal(2, ratio.Value, 0.02);
        Assert.InRange(ratio.Low, 1.8, 2);
        Assert.InRange(ratio.High, 2, 2.2);
        Assert.InRange(1.7, mine.Irreducible.Low, mine.Irreducible.High);
        Assert.True(mine.Irreducible.High - mine.Irreducible.Low > 1e-4);
    }

    [Fact]
    public void Efficiency_is_infinite_over_a_design_that_never_reaches_the_loss()
    {
        var (mine, other) = (ScalingFit.Fit(Points(1.7, 80, 0.3, noise: 1e-3)), ScalingFit.Fit(Points(2.5, 80, 0.3, noise: 1e-3)));
        double inf = double.PositiveInfinity;
        Assert.Equal(new BootstrapInterval(inf, inf, inf), mine.EfficiencyOver(other, 1e8));
        // at a loss close to the other's limit, a part of the resampled fits reaches it
        var near = mine.EfficiencyOver(other, Math.Pow(80 / 0.8, 1 / 0.3) * 0.999);
        Assert.True(double.IsFinite(near.Low));
        Assert.Equal(inf, near.High);
    }
}
