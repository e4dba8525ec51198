using HybridArchitectures.Design;

namespace HybridArchitectures.Tests.Design;

public class PlacementTests
{
    static readonly HybridDesignBuilder hybrid = HybridDesign.Create(16, 16).WithAttention(2).WithMamba2(heads: 2)
        .WithFeedForward(FeedForwardSpec.SwiGlu(16));

    // ratio 1:3 over 13 is 3 blocks, even at 3.5, 7 and 10.5; 1:1 over 13 is 6.5
    [Theory]
    [InlineData(13, 1, 3, Placement.Middle, "4 7 11")]
    [InlineData(13, 1, 3, Placement.Even, "4 7 11")]
    [InlineData(13, 1, 3, Placement.Front, "1 7 11")]
    [InlineData(13, 1, 3, Placement.End, "4 7 13")]
    [InlineData(13, 1, 3, Placement.Clustered, "6 7 8")]
    [InlineData(13, 1, 3, Placement.Sandwich, "1 7 13")]
    [InlineData(13, 1, 1, Placement.Sandwich, "1 2 6 7 8 12 13")]
    [InlineData(13, 1, 5, Placement.Sandwich, "1 13")]
    [InlineData(13, 1, 5, Placement.Middle, "5 9")]
    [InlineData(13, 1, 12, Placement.Middle, "7")]
    [InlineData(13, 1, 12, Placement.Front, "1")]
    [InlineData(13, 1, 12, Placement.End, "13")]
    [InlineData(12, 1, 12, Placement.Clustered, "7")]
    [InlineData(8, 1, 7, Placement.Middle, "5")]
    [InlineData(2, 1, 1, Placement.Middle, "2")]
    public void Names_mean_these_positions(int depth, int attention, int ssm, Placement placement, string positions) =>
        Assert.Equal(positions, Positions(hybrid.Depth(depth).Ratio(attention, ssm).Place(placement).Build().Pattern));

    [Theory]
    [InlineData(13, 1, 5, 2)]
    [InlineData(13, 1, 1, 7)]
    [InlineData(14, 1, 3, 4)]
    [InlineData(22, 1, 5, 4)]
    [InlineData(11, 1, 1, 6)]
    [InlineData(16, 1, 12, 1)]
    [InlineData(10, 7, 3, 7)]
    [InlineData(10, 2, 6, 3)]
    public void A_ratio_gives_the_nearest_number_of_blocks(int depth, int attention, int ssm, int count) =>
        Assert.Equal(count, hybrid.Depth(depth).Ratio(attention, ssm).Build().Pattern.Count('T'.Equals));

    [Fact]
    public void Every_placement_of_every_count_in_every_depth_is_in_order_and_inside()
    {
        foreach (var placement in Enum.GetValues<Placement>())
            for (int depth = 1; depth <= 64; depth++)
                for (int count = placement == Placement.Sandwich ? 2 : 0; count <= depth; count++)
                {
                    int[] positions = PlacementRule.Positions(placement, depth, count);
                    Assert.Equal(count, positions.Length);
                    Assert.True(count == 0 || (positions[0] >= 1 && positions[^1] <= depth), $"{placement} {count} of {depth}");
                    Assert.True(positions.Zip(positions.Skip(1)).All(pair => pair.First < pair.Second),
                        $"{placement} {count} of {depth}: {string.Join(" ", positions)}");
                }
    }

    static string Positions(string pattern) =>
        string.Join(" ", Enumerable.Range(0, pattern.Length).Where(index => pattern[index] == 'T').Select(index => index + 1));
}
