using System.Text;
using HybridArchitectures.Training.Data;

namespace HybridArchitectures.Training.Tests.Data;

public class ByteModelTests
{
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    public void Probabilities_sum_to_one_in_every_context(int order)
    {
        var model = new ByteModel(order, Encoding.ASCII.GetBytes("the cat sat on the mat"));
        foreach (int history in new[] { 0, 't' << 8 | 'h', 'c' << 8 | 'x', 0xffff })
            Assert.Equal(1, Enumerable.Range(0, 256).Sum(b => model.Probability(history, (byte)b)), 1e-12);
    }

    [Fact]
    public void Bits_follow_the_formula()
    {
        // "aab": n(a) = 2, n(b) = 1, t = 2; p(a) = (2 + 2/256) / 5
        var model = new ByteModel(0, "aab"u8);
        Assert.Equal(-Math.Log2((2 + 2 / 256.0) / 5), model.BitsPerByte("a"u8), 1e-12);
        Assert.Equal(-Math.Log2(2 / 256.0 / 5), model.BitsPerByte("z"u8), 1e-12);
        // after a once a and once b, after the (zero) beginning once a: p(b|a) = (1 + 2 p(b)) / 4
        var first = new ByteModel(1, "aab"u8);
        Assert.Equal((1 + 2 * (1 + 2 / 256.0) / 5) / 4, first.Probability('a', (byte)'b'), 1e-12);
    }

    [Fact]
    public void A_pattern_of_two_bytes_is_learnt_by_order_2_alone()
    {
        var pattern = Encoding.ASCII.GetBytes(string.Concat(Enumerable.Repeat("aabb", 5000)));
        Assert.True(new ByteModel(1, pattern).BitsPerByte(pattern) > 0.95);
        Assert.True(new ByteModel(2, pattern).BitsPerByte(pattern) < 0.05);
    }

    [Fact]
    public void Empty_texts_and_other_orders_are_refused()
    {
        Assert.Throws<ArgumentException>(() => new ByteModel(1, []));
        Assert.Throws<ArgumentException>(() => new ByteModel(1, "a"u8).BitsPerByte([]));
        Assert.Throws<ArgumentOutOfRangeException>(() => new ByteModel(3, "a"u8));
        Assert.Throws<ArgumentOutOfRangeException>(() => new ByteModel(-1, "a"u8));
    }
}
