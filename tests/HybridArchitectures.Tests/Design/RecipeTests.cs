using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Kernels;

namespace HybridArchitectures.Tests.Design;

public class RecipeTests
{
    public static TheoryData<string> Names => [.. Recipes.All.Select(recipe => recipe.Name)];

    // figure as printed, without the embedding; those that our count does not round to come with the count, in millions
    [Theory]
    [InlineData("100M-llama", "0.10")]
    [InlineData("100M-mamba", "0.10")]
    [InlineData("100M-inter-1:5", "0.09")]
    [InlineData("100M-intra-1:5", "0.10", 94.94)]
    [InlineData("350M-llama", "0.35")]
    [InlineData("350M-mamba", "0.37")]
    [InlineData("350M-mamba", "0.34", 368.32)]
    [InlineData("350M-inter-1:5", "0.35")]
    [InlineData("350M-intra-1:5", "0.36")]
    [InlineData("1B-llama", "0.97")]
    [InlineData("1B-mamba", "0.98", 989.53)]
    [InlineData("1B-mamba", "0.99")]
    [InlineData("1B-inter-1:5", "0.96")]
    [InlineData("1B-intra-1:0", "0.95")]
    [InlineData("1B-intra-1:5", "0.98")]
    [InlineData("3B-llama", "2.78", 2774.71)]
    [InlineData("3B-llama", "2.82", 2774.71)]
    [InlineData("3B-mamba", "2.80", 2810.59)]
    [InlineData("3B-mamba", "2.81")]
    [InlineData("3B-inter-1:5", "2.81")]
    [InlineData("3B-intra-1:5", "2.89", 2901.68)]
    [InlineData("1B-llama-moe", "3.79")]
    [InlineData("1B-mamba-moe", "3.28")]
    [InlineData("1B-inter-1:5-moe", "3.25")]
    [InlineData("1B-intra-1:5-moe", "3.27")]
    public void Parameters_round_to_the_printed_figure_or_are_listed_as_not(string name, string printed, double? counted = null)
    {
        var recipe = Recipes.Get(name);
        var figure = Assert.Single(recipe.Printed.DistinctBy(one => one.Billions), one => one.Billions == printed);
        var count = recipe.Design.CountParameters();
        Assert.Equal(counted is null, figure.Holds(count.NonEmbedding));
        Assert.Equal(counted is null, figure.Deviation is null);
        if (counted is { } millions) Assert.Equal(millions, count.NonEmbedding / 1e6, 0.005);
    }

    [Fact]
    public void Every_printed_figure_of_a_recipe_holds_or_says_why_not()
    {
        foreach (var recipe in Recipes.All)
            foreach (var figure in recipe.Printed)
                Assert.True(figure.Holds(recipe.Design.CountParameters().NonEmbedding) == figure.Deviation is null, $"{recipe.Name}: {figure}");
    }

    // blocks of 1B: mixers of 10M and 25M; embeddings 0.13, 0.20, 0.26, 0.39 billion; the active parameters of a mixture of experts are those of the
    // dense model
    [Fact]
    public void Parts_are_those_printed()
    {
        var inter = Recipes.Get("1B-inter-1:5").Design.CountParameters();
        Assert.Equal(10.5, inter.Blocks[3].Mixer / 1e6, 0.05);
        Assert.Equal(25.8, inter.Blocks[0].Mixer / 1e6, 0.05);
        Assert.Equal([0.13, 0.20, 0.26, 0.39],
            new[] { "100M", "350M", "1B", "3B" }.Select(
            size => Math.Round(Recipes.Get($"{size}-llama").Design.CountParameters().Embedding / 1e9, 2)));
        foreach (string family in (string[])["llama", "mamba", "inter-1:5", "intra-1:5"])
        {
            var (experts, dense) = (Recipes.Get($"1B-{family}-moe").Design, Recipes.Get($"1B-{family}").Design.CountParameters());
            Assert.Equal(dense.Total + (8L * 2048 * experts.Depth), experts.CountParameters().Active);       // the router is extra
        }
    }

    // tokens (in billions) that Llama's FLOPs for 60B tokens are enough for, as printed: what decides between widths that give the same counts
    [Theory]
    [InlineData("1B-mamba", 73)]
    [InlineData("1B-inter-1:1", 68)]
    [InlineData("1B-inter-1:3", 73)]
    [InlineData("1B-inter-1:5", 73)]
    [InlineData("1B-inter-1:12", 73)]
    [InlineData("1B-intra-1:0", 65)]
    [InlineData("1B-intra-1:1", 69)]
    [InlineData("1B-intra-1:3", 71)]
    [InlineData("1B-intra-1:5", 72)]
    [InlineData("1B-intra-1:12", 72)]         // printed: 73
    [InlineData("350M-mamba", 82)]
    [InlineData("350M-inter-1:1", 72)]
    [InlineData("350M-inter-1:3", 80)]
    [InlineData("350M-inter-1:5", 81)]
    [InlineData("350M-inter-1:12", 81)]
    [InlineData("350M-intra-1:0", 67)]
    [InlineData("350M-intra-1:1", 75)]
    [InlineData("350M-intra-1:3", 78)]
    [InlineData("350M-intra-1:5", 79)]
    [InlineData("350M-intra-1:12", 81)]
    public void Equal_FLOPs_give_the_printed_tokens(string name, int tokens)
    {
        var recipe = Recipes.Get(name);
        Assert.Equal(tokens, Math.Round(60 * TrainingFlops(Recipes.Get($"{recipe.Size}-llama").Design) / TrainingFlops(recipe.Design)));
    }

    // the paper's formula per token at a context of 8192: six per parameter, the scores and sums of causal attention, the scan
    static double TrainingFlops(HybridDesign design)
    {
        static double Attention(AttentionSpec spec) => 12 * (spec.QueryWidth + spec.OutputWidth) / 2.0 * (8192 + 1) / 2;
        static double Scan(IStateSpaceSpec spec) => 3 * (9.0 * spec.InnerWidth * spec.StateSize + 2 * spec.InnerWidth);
        return 6.0 * design.CountParameters().NonEmbedding + design.Blocks.Sum(block => block.Mixer switch
        {
            AttentionSpec attention => Attention(attention),
            IStateSpaceSpec stateSpace => Scan(stateSpace),
            IntraHybridSpec intra => Attention(intra.Attention) + Scan((IStateSpaceSpec)intra.StateSpace),
            _ => throw new InvalidOperationException(),
        });
    }

    [Theory]
    [InlineData("1B-inter-1:1", "MTMTMTMTMTMTMT")]
    [InlineData("1B-inter-1:3", "MMTMMMTMMMTMM")]
    [InlineData("1B-inter-1:5", "MMMTMMMTMMMMM")]
    [InlineData("1B-inter-1:5-front", "TMMMMMMTMMMMM")]
    [InlineData("1B-inter-1:5-end", "MMMTMMMMMMTMM")]
    [InlineData("1B-inter-1:12", "MMMMMMTMMMMMM")]
    [InlineData("1B-inter-1:12-at-1", "TMMMMMMMMMMMM")]
    [InlineData("350M-inter-1:3", "MMTMMTMMTMM")]
    [InlineData("350M-inter-1:5", "MMMTMMMTMMM")]
    [InlineData("350M-inter-1:12", "MMMMMTMMMMM")]
    [InlineData("1B-intra-1:0", "HHHHHHHHHHHHH")]
    [InlineData("1B-intra-1:1", "MHMHMHMHMHMHH")]
    [InlineData("1B-intra-1:1-cluster", "MMMMHHHHHHHMM")]
    [InlineData("1B-intra-1:1-sandwich", "HHMMMHHHMMMHH")]
    [InlineData("1B-intra-1:3", "MMMHMMHMMMHMM")]
    [InlineData("1B-intra-1:5", "MMMMHMMMHMMMM")]
    [InlineData("1B-swa-1:3", "SSSTSSTSSTSSTSSS")]
    [InlineData("1B-swa-1:5", "SSSSTSSSTSSSTSSS")]
    [InlineData("1B-swa-0:1", "SSSSSSSSSSSSSSSS")]
    [InlineData("1B-llama", "TTTTTTTTTTTTTTTT")]
    [InlineData("1B-mamba", "MMMMMMMMMMMMM")]
    public void Blocks_are_where_the_paper_puts_them(string name, string pattern) => Assert.Equal(pattern, Recipes.Get(name).Design.Pattern);

    [Theory]
    [InlineData("100M", "1:5", 1, 5)]
    [InlineData("350M", "1:1", 6, 5)]
    [InlineData("350M", "1:3", 3, 8)]
    [InlineData("350M", "1:5", 2, 9)]
    [InlineData("350M", "1:12", 1, 10)]
    [InlineData("1B", "1:1", 7, 6)]
    [InlineData("1B", "1:3", 3, 10)]
    [InlineData("1B", "1:5", 2, 11)]
    [InlineData("1B", "1:12", 1, 12)]
    [InlineData("3B", "1:5", 4, 18)]
    public void Intra_hybrids_have_the_printed_blocks(string size, string ratio, int intra, int mamba)
    {
        string pattern = Recipes.Get($"{size}-intra-{ratio}").Design.Pattern;
        Assert.Equal((intra, mamba), (pattern.Count('H'.Equals), pattern.Count('M'.Equals)));
    }

    [Fact]
    public void The_intra_block_of_1B_has_the_printed_widths()
    {
        var block = Assert.IsType<IntraHybridSpec>(Recipes.Get("1B-intra-1:5").Design.Blocks[4].Mixer);
        var mamba = Assert.IsType<Mamba2Spec>(block.StateSpace);
        Assert.Equal((16, 4, 1152, 2048),
            (block.Attention.Heads, block.Attention.KeyValueHeads, block.Attention.QueryWidth, block.Attention.OutputWidth));
        Assert.Equal((16, 2304, 128, 4), (mamba.Heads, mamba.InnerWidth, mamba.StateSize, mamba.ConvolutionWidth));
        Assert.Equal((FusionKind.Difference, BranchNorm.Group, OutputProjection.Separate, false, false),
            (block.Fusion, block.Norm, block.Output, block.LearnedScale, block.SharedValues));
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Every_recipe_round_trips_through_JSON(string name)
    {
        var design = Recipes.Get(name).Design;
        Assert.Equal(name, design.Name);
        Assert.Equal(design, HybridDesign.FromJson(design.ToJson()));
        Assert.Empty(design.Diff(HybridDesign.FromJson(design.ToJson())));
    }

    [Fact]
    public void No_two_recipes_are_the_same_model()
    {
        var designs = Recipes.All.Select(recipe => recipe.Design with { Name = null }).ToList();
        Assert.Equal(designs.Count, designs.Distinct().Count());
        Assert.True(designs.Count > 60);
    }

    [Fact]
    public void An_unknown_name_is_refused_with_near_ones()
    {
        var refusal = Assert.Throws<ArgumentException>(() => Recipes.Get("1B-inter-1:6"));
        Assert.Contains("name is \"1B-inter-1:6\"", refusal.Message);
        Assert.Contains("1B-inter-1:5", refusal.Message);
    }

    [Fact]
    public void The_list_in_the_documentation_is_up_to_date()
    {
        string text = RecipesDocument.Markdown();
        if (Environment.GetEnvironmentVariable("UPDATE_DOCS") == "1")
        {
            Directory.CreateDirectory(Path.GetDirectoryName(RecipesDocument.Path)!);
            File.WriteAllText(RecipesDocument.Path, text);
        }
        Assert.True(File.Exists(RecipesDocument.Path), "docs/reference/recipes.md is missing: run this test with UPDATE_DOCS=1");
        Assert.True(text == File.ReadAllText(RecipesDocument.Path).ReplaceLineEndings("\n"),
            "docs/reference/recipes.md is out of date: run this test with UPDATE_DOCS=1");
    }
}
