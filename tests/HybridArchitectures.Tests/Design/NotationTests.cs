using HybridArchitectures.Cost;
using HybridArchitectures.Design;

namespace HybridArchitectures.Tests.Design;

public class NotationTests
{
    public static TheoryData<int> Published => [.. Enumerable.Range(0, PublishedPattern.All.Count)];

    [Theory, MemberData(nameof(Published))]
    public void A_published_models_layers_are_read_and_written_back(int index)
    {
        var model = PublishedPattern.All[index];
        Assert.True(model.Expected == string.Concat(model.Blocks), $"{model.Name} ({model.Source}): {string.Concat(model.Blocks)}");
        Assert.True(model.PrintsBack, model.Name);
        Assert.False(string.IsNullOrWhiteSpace(model.Source), model.Name);
        Assert.Equal(model.Blocks, BlockPattern.Parse(model.Expected));
    }

    [Fact]
    public void At_least_thirty_published_models_of_different_names_are_known() =>
        Assert.True(PublishedPattern.All.Select(model => model.Name).Distinct().Count() is >= 30 and int count
            && count == PublishedPattern.All.Count);

    [Fact]
    public void A_pattern_of_another_notation_builds_the_same_design()
    {
        HybridDesignBuilder Start() => HybridDesign.Create(64, 100).WithAttention(4).WithMamba2(16, 16).WithFeedForward(FeedForwardSpec.SwiGlu(128));
        var design = Start().Pattern("MMMTMMMT").Build();
        Assert.Equal(design, Start().Blocks(AttentionIndices.Parse(8, [3, 7])).Build());
        Assert.Equal(design, Start().Blocks(new PeriodPattern(8, 4, 3, Other: "M").Blocks()).Build());
        Assert.Equal(design, Start().Blocks(MegatronPattern.Parse("M-M-M-*-M-M-M-*-", fold: true)).Build());
        Assert.Equal(design, Start().Blocks(LayerTypes.Parse(["mamba", "mamba", "mamba", "attention", "mamba", "mamba", "mamba", "attention"]))
            .Build());
        Assert.Equal(design, Start().Blocks(RepeatedPattern.From(BlockPattern.Parse(design.Pattern)).Blocks()).Build());
        Assert.Equal("M-M-M-*-M-M-M-*-", MegatronPattern.Print(BlockPattern.Parse(design.Pattern)));
        // the same layers, one by one: as many parameters
        Assert.Equal(design.CountParameters().Total, Start().Blocks(MegatronPattern.Parse("M-M-M-*-M-M-M-*-")).Build().CountParameters().Total);
    }

    [Theory]
    [InlineData("M-|M*", "position 3 is a boundary between pipeline stages")]
    [InlineData("M-M*/M*", "position 5 is the start of layers for multi-token prediction")]
    [InlineData("M+", "position 2 is multi-head latent attention")]
    [InlineData("MX", "position 2 is unknown")]
    [InlineData("", "at least one layer")]
    public void Megatron_signs_that_no_design_has_are_refused_with_the_reason(string pattern, string reason) =>
        Assert.Contains(reason, Assert.Throws<ArgumentException>(() => MegatronPattern.Parse(pattern)).Message);

    [Fact]
    public void What_a_notation_cannot_say_is_refused()
    {
        Assert.Contains("block 2", Assert.Throws<ArgumentException>(() => MegatronPattern.Print(BlockPattern.Parse("MS"))).Message);
        Assert.Contains("experts", Assert.Throws<ArgumentException>(() => LayerTypes.Print(BlockPattern.Parse("MMe"))).Message);
        Assert.Contains("no feed-forward", Assert.Throws<ArgumentException>(() => LayerTypes.Print(BlockPattern.Parse("M-"))).Message);
        Assert.Equal(["linear_attention", "mlp", "full_attention", "moe"], LayerTypes.Print(MegatronPattern.Parse("M-*E")));
        Assert.Equal(MegatronPattern.Parse("M-*E"), LayerTypes.Parse(["linear_attention", "mlp", "full_attention", "moe"]));
        Assert.Null(PeriodPattern.From(BlockPattern.Parse("mTmmmTT")));
        Assert.Null(PeriodPattern.From(BlockPattern.Parse("mMT")));
        Assert.Null(PeriodPattern.From(BlockPattern.Parse("mmm")));
    }

    [Fact]
    public void Bad_numbers_and_words_are_refused_by_name()
    {
        Assert.Equal("offset", Assert.ThrowsAny<ArgumentException>(() => new PeriodPattern(8, 4, 4).Blocks()).ParamName);
        Assert.Equal("period", Assert.ThrowsAny<ArgumentException>(() => new PeriodPattern(8, 0, 0).Blocks()).ParamName);
        Assert.Equal("expertOffset", Assert.ThrowsAny<ArgumentException>(() => new PeriodPattern(8, 4, 0, 2, 2).Blocks()).ParamName);
        Assert.Contains("indices is 8; expected 0 to 7", Assert.ThrowsAny<ArgumentException>(() => AttentionIndices.Parse(8, [3, 8])).Message);
        Assert.Contains("3 twice", Assert.ThrowsAny<ArgumentException>(() => AttentionIndices.Parse(8, [3, 3])).Message);
        Assert.Contains("position 1", Assert.ThrowsAny<ArgumentException>(() => LayerTypes.Parse(["mamba", "mambo"])).Message);
        var kinds = new Dictionary<string, string> { ["a"] = "T", ["m"] = "M", ["two"] = "MM" };
        Assert.Contains("divides depth = 8", Assert.ThrowsAny<ArgumentException>(() => RepeatedPattern.Parse(8, ["a", "m", "m"], kinds)).Message);
        Assert.Contains("one of a, m", Assert.ThrowsAny<ArgumentException>(() => RepeatedPattern.Parse(8, ["x"], kinds)).Message);
        Assert.Contains("one block", Assert.ThrowsAny<ArgumentException>(() => RepeatedPattern.Parse(8, ["two"], kinds)).Message);
        Assert.Contains("0 to 7", Assert.ThrowsAny<ArgumentException>(
            () => RepeatedPattern.Parse(8, ["a"], kinds, new Dictionary<int, string> { [8] = "m" })).Message);
        Assert.Equal("MTTM", string.Concat(RepeatedPattern.Parse(4, ["m", "a"], kinds, new Dictionary<int, string> { [2] = "a", [3] = "m" })));
    }
}
