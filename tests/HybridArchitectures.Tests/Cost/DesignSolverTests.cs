using HybridArchitectures.Cost;
using HybridArchitectures.Design;

namespace HybridArchitectures.Tests.Cost;

public class DesignSolverTests
{
    static HybridDesignBuilder Start =>
        HybridDesign.Create(2048, 128_256).WithAttention(32, 8).WithMamba2(128, 128).WithFeedForward(FeedForwardSpec.SwiGlu(8192));

    [Fact]
    public void Depth_matches_parameters_as_the_paper_did()
    {
        var llama = Recipes.Get("1B-llama").Design;
        Assert.Equal(13, DesignSolver.ByDepth(Start.Ratio(0, 1).Depth, DesignMeasure.NonEmbeddingParameters, llama).Design.Depth);
        Assert.Equal(14, DesignSolver.ByDepth(Start.Ratio(1, 1).Depth, DesignMeasure.NonEmbeddingParameters, llama).Design.Depth);
        Assert.Equal(13, DesignSolver.ByDepth(Start.Ratio(1, 5).Depth, DesignMeasure.NonEmbeddingParameters, llama).Design.Depth);
    }

    [Fact]
    public void Depth_of_a_design_keeps_shares_and_finds_itself()
    {
        var design = Recipes.Get("1B-inter-1:5").Design;
        var same = DesignSolver.ByDepth(design, DesignMeasure.Parameters, design);
        Assert.Equal(design, same.Design);
        Assert.Equal(0, same.Error);
        var twice = design with { Blocks = [.. design.Blocks, .. design.Blocks] };
        var deeper = DesignSolver.ByDepth(design, DesignMeasure.NonEmbeddingParameters, twice);
        Assert.Equal(26, deeper.Design.Depth);
        Assert.Equal(4, deeper.Design.Blocks.Count(block => block.Mixer is AttentionSpec));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(6)]
    public void All_layers_of_another_depth_but_the_first_read_its_values(int depth)
    {
        HybridDesignBuilder start = HybridDesign.Create(64, 100).WithMixer(new Rwkv7Spec { Heads = 2, ValueRank = 4 })
            .WithFeedForward(FeedForwardSpec.SwiGlu(96));
        var expected = start.Pattern(new string('W', depth)).Build();
        Assert.Equal(expected, DesignSolver.ByDepth(start.Pattern("WWW").Build(), DesignMeasure.Parameters, expected).Design);
    }

    [Theory]
    [InlineData(2048)]
    [InlineData(32_768)]
    public void Depth_matches_operations_as_no_neighbour_does(int length)
    {
        var llama = Recipes.Get("1B-llama").Design;
        double target = DesignSolver.Measure(llama, DesignMeasure.TrainingFlops, length);
        var depths = new List<int>();
        foreach (var build in new Func<int, HybridDesignBuilder>[] { Start.Ratio(0, 1).Depth, Start.Ratio(1, 1).Depth, Start.Ratio(1, 5).Depth })
        {
            var solved = DesignSolver.ByDepth(build, DesignMeasure.TrainingFlops, llama, length);
            Assert.Equal((target, FlopCount.OfText(solved.Design, length).Training), (solved.Target, solved.Value));
            for (int depth = 6; depth <= 60; depth++)
                Assert.True(Math.Abs(solved.Value - target) <= Math.Abs(
                    DesignSolver.Measure(build(depth).Build(), DesignMeasure.TrainingFlops, length) - target),
                    $"{depth} is nearer than {solved.Design.Depth}");
            depths.Add(solved.Design.Depth);
        }
        // attention's operations grow with the text and those of Mamba do not: for long texts the fewer layers have attention, the deeper the design
        // may be
        if (length == 32_768) Assert.True(depths[0] > depths[2] && depths[2] > depths[1], string.Join(", ", depths));
    }

    [Theory]
    [InlineData(DesignMeasure.Parameters)]
    [InlineData(DesignMeasure.NonEmbeddingParameters)]
    [InlineData(DesignMeasure.ActiveParameters)]
    [InlineData(DesignMeasure.TrainingFlops)]
    public void Feed_forward_width_comes_as_near_as_its_step_allows(DesignMeasure measure)
    {
        var llama = Recipes.Get("1B-llama").Design;
        foreach (string name in (string[])["1B-inter-1:5", "1B-mamba", "1B-intra-1:5-moe"])
        {
            if (name.EndsWith("moe", StringComparison.Ordinal) && measure is DesignMeasure.Parameters or DesignMeasure.NonEmbeddingParameters)
                continue;
            var solved = DesignSolver.ByFeedForward(Recipes.Get(name).Design, measure, llama);
            Assert.InRange(Math.Abs(solved.Error), 0, 0.01);
            Assert.Equal(DesignSolver.Measure(solved.Design, measure), solved.Value);
            solved.Design.CountParameters();
        }
    }

    [Fact]
    public void What_cannot_match_is_refused()
    {
        var small = HybridDesign.Create(32, 100).WithAttention(4).WithFeedForward(FeedForwardSpec.SwiGlu(64)).Depth(1).Build();
        Assert.Equal("of", Assert.Throws<ArgumentException>(
            () => DesignSolver.ByFeedForward(Recipes.Get("1B-mamba").Design, DesignMeasure.Parameters, small)).ParamName);
        var bare = HybridDesign.Create(32, 100).WithAttention(4).Depth(1).Build();
        Assert.Equal("design", Assert.Throws<ArgumentException>(() => DesignSolver.ByFeedForward(bare, DesignMeasure.Parameters, small)).ParamName);
        Assert.Throws<ArgumentException>(
            () => DesignSolver.ByDepth(depth => HybridDesign.Create(32, 100).WithAttention(5).Depth(depth), DesignMeasure.Parameters, small));
    }

    [Fact]
    public void Explanation_has_a_line_per_layer_whose_parameters_are_counted()
    {
        string text = Recipes.Get("1B-inter-1:5").Design.Explain();
        var lines = text.Split('\n');
        Assert.Equal(2 + 13 + 3 + 1, lines.Length);
        Assert.StartsWith("    4 T attention 32(8)x64", lines[5]);
        Assert.Contains(" 60.8M", lines[5]);
        Assert.Contains(" 76.1M", lines[6]);
        Assert.Contains(" 16.0 MiB", lines[5]);
        Assert.Contains(" 1.22B", lines[16]);
        foreach (string name in Tests.Models.TinyDesigns.All.Select(design => design.Explain(64))) Assert.NotEmpty(name);
    }
}
