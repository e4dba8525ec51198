using HybridArchitectures.Design;

namespace HybridArchitectures.Tests.Design;

public class BlockPatternTests
{
    static readonly HybridDesignBuilder any = HybridDesign.Create(64, 256).WithAttention(4).WithSlidingWindow(2048).WithMamba1().WithMamba2()
        .WithIntraHybrid(new() { Heads = 4 }, new Mamba2Spec { HeadSize = 16 }).WithMixer(new ShiftSpec(1))
        .WithFeedForward(FeedForwardSpec.SwiGlu(128))
        .WithExperts(FeedForwardSpec.MixtureOfExperts(4, 2, 32));

    // published hybrids in our notation; attention at these 0-based layers (Nemotron-H: among its single layers)
    [Theory]
    [InlineData("Llama 3.2 1B", "T", 16, 16, "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15")]
    [InlineData("Jamba", "m me m me T me m me", 4, 32, "4 12 20 28")]
    [InlineData("Samba 421M", "m S", 6, 12, "1 3 5 7 9 11")]
    [InlineData("Falcon-H1 0.5B", "H", 36, 36, "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35")]
    [InlineData("Nemotron-H 8B", "M~-M~-M~-M~T~-M~-M~-M~-M~-M~T~-M~-M~-M~-M~-M~T~-M~-M~-M~-M~-M~T~-M~-M~-M~-M~-M~-", 1, 52, "7 18 29 40")]
    [InlineData("Mamba-2", "M~", 24, 24, "")]
    [InlineData("the paper's 1B, 1:5", "MMMT MMMT MMMMM", 1, 13, "3 7")]
    public void Published_hybrids_are_written_and_read(string name, string pattern, int repeat, int layers, string attention)
    {
        var design = any.Name(name).Pattern(pattern, repeat).Build();
        Assert.Equal(layers, design.Depth);
        Assert.Equal(attention, string.Join(
            " ", Enumerable.Range(0, layers).Where(index => design.Blocks[index].Mixer is AttentionSpec or IntraHybridSpec)));
        Assert.Equal(design, any.Name(name).Pattern(design.Pattern).Build());
    }

    [Fact]
    public void Nemotron_H_8B_has_24_state_space_layers_and_24_feed_forwards()
    {
        string printed = any.Pattern("M~-M~-M~-M~T~-M~-M~-M~-M~-M~T~-M~-M~-M~-M~-M~T~-M~-M~-M~-M~-M~T~-M~-M~-M~-M~-M~-").Build().Pattern;
        Assert.Equal((24, 24, 4), (printed.Count('M'.Equals), printed.Count('-'.Equals), printed.Count('T'.Equals)));
    }

    [Theory]
    [InlineData("1 m", "mm")]
    [InlineData(" T S\tM\nH X ", "TSMHX")]
    [InlineData("Te-eM~-", "Te-eM~-")]
    [InlineData("é", "é")]
    [InlineData("M M+ T+~ M+e", "MM+T+~M+e")]
    public void Patterns_are_read_as_blocks(string pattern, string plain) => Assert.Equal(plain, string.Concat(BlockPattern.Parse(pattern)));

    [Theory]
    [InlineData("e", 1)]
    [InlineData("~M", 1)]
    [InlineData("Mee", 3)]
    [InlineData("M~e", 3)]
    [InlineData("M-~", 3)]
    [InlineData("M*M", 2)]
    [InlineData("M2", 2)]
    [InlineData("+M", 1)]
    [InlineData("M++", 3)]
    [InlineData("-+", 2)]
    [InlineData("M~+", 3)]
    public void A_character_without_meaning_is_named_with_its_position(string pattern, int place) =>
        Assert.Contains($"at position {place}", Assert.Throws<ArgumentException>(() => BlockPattern.Parse(pattern)).Message);

    [Theory]
    [InlineData("X", true)]
    [InlineData("é", true)]
    [InlineData("T", false)]
    [InlineData("e", false)]
    [InlineData("1", false)]
    [InlineData("-", false)]
    [InlineData("", false)]
    [InlineData(null, false)]
    public void Letters_with_a_meaning_are_not_free(string? symbol, bool free) => Assert.Equal(free, BlockPattern.IsFreeSymbol(symbol));
}
