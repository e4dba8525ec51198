using HybridArchitectures.Generation;

namespace HybridArchitectures.Tests.Generation;

public class RowRandomTests
{
    [Fact]
    public void Numbers_are_uniform_and_differ_between_seeds_and_indices()
    {
        const int Count = 20000, Bins = 20;
        foreach (long seed in new[] { 0, 1, -1, long.MaxValue })
        {
            var bins = new int[Bins];
            double previous = 0.5, product = 0;
            var random = new RowRandom(seed);
            for (int i = 0; i < Count; i++)
            {
                double number = random.At(i);
                Assert.InRange(number, 0, 1);
                bins[(int)(number * Bins)]++;
                product += (previous - 0.5) * (number - 0.5);
                previous = number;
            }
            // chi-squared with 19 degrees of freedom exceeds 50 once in ten thousand; the numbers are fixed
            double expected = (double)Count / Bins;
            Assert.InRange(bins.Sum(count => (count - expected) * (count - expected) / expected), 0, 50);
            Assert.InRange(Math.Abs(product / Count), 0, 0.003);
        }
        Assert.Equal(1000, Enumerable.Range(0, 1000).Select(seed => new RowRandom(seed).At(0)).Distinct().Count());
    }

    [Fact]
    public void A_token_is_picked_as_often_as_it_is_likely()
    {
        float[] weights = [0, 0.5f, 0, 0.3f, 0.2f, 0];
        var counts = new int[6];
        var random = new RowRandom(5);
        for (int i = 0; i < 10000; i++) counts[RowRandom.Pick(weights, random.At(i))]++;
        Assert.Equal(0, counts[0] + counts[2] + counts[5]);
        // three standard deviations of 10000 draws are at most 150
        Assert.InRange(counts[1], 4850, 5150);
        Assert.InRange(counts[3], 2850, 3150);
    }

    [Fact]
    public void The_ends_of_the_range_fall_on_possible_tokens()
    {
        Assert.Equal(1, RowRandom.Pick([0, 1, 2, 0], 0));
        Assert.Equal(2, RowRandom.Pick([0, 1, 2, 0], 1 - 1.0 / (1L << 53)));
        Assert.Equal(-1, RowRandom.Pick([0, 0], 0.5));
        Assert.Equal(-1, RowRandom.Pick([1, float.NaN], 0.5));
        Assert.Equal(-1, RowRandom.Pick([1, float.PositiveInfinity], 0.5));
    }
}
