using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Review;

namespace HybridArchitectures.Tests.Design;

public class ReviewTests
{
    public static TheoryData<int> Cases => [.. Enumerable.Range(0, ReviewCase.All.Count)];

    static IEnumerable<Finding> Of(ReviewCase at, HybridDesign design) => design.Review(at.Options).Where(finding => finding.Rule == at.Rule);

    [Theory, MemberData(nameof(Cases))]
    public void Rule_fires_where_the_fault_is_and_nowhere_else(int index)
    {
        var at = ReviewCase.All[index];
        var finding = Of(at, at.Fires).First();
        Assert.True(at.Layer == finding.Layer, finding.ToString());
        Assert.Contains(finding.Evidence.Number, char.IsDigit);
        Assert.NotEmpty(finding.Evidence.Source);
        Assert.True(!Of(at, at.Passes).Any(), at.ToString());
    }

    [Theory, MemberData(nameof(Cases))]
    public void Cure_makes_the_finding_go_away(int index)
    {
        var at = ReviewCase.All[index];
        var design = at.Fires;
        var first = Of(at, design).First();
        if (first.Remedy.Apply is null)
        {
            Assert.Equal("attention-past-training", at.Rule);
            return;
        }
        for (int left = Of(at, design).Count(); left > 0; left--) design = Of(at, design).First().Remedy.Apply!(design);
        Assert.Empty(Of(at, design));
        design.Check();
        Assert.NotEqual(at.Fires, design);
    }

    [Theory, MemberData(nameof(Cases))]
    public void Safe_cures_keep_the_weights_and_leave_nothing_safe_to_do(int index)
    {
        var at = ReviewCase.All[index];
        var review = at.Fires.Review(at.Options);
        var cured = review.Fixed();
        if (at.Rule == "head-groups")
        {
            // which number was meant is for its author to say
            Assert.Equal(at.Fires, cured);
            return;
        }
        Assert.DoesNotContain(cured.Review(at.Options), finding => finding.Remedy.Safe);
        Assert.Equal(at.Fires.Pattern.Order(), cured.Pattern.Order());
        cured.Check();
        if (at.Rule == "chunk-power") return;    // no model has weights before
        // all that may go is a learned scale
        long scales = at.Fires.Blocks.Select(block => block.Mixer).OfType<IntraHybridSpec>().Where(intra => intra.LearnedScale)
        .Sum(intra => (long)intra.InnerWidth + intra.Attention.OutputWidth);
        Assert.InRange(at.Fires.CountParameters().Total - cured.CountParameters().Total, 0, scales);
    }

    [Fact]
    public void Every_rule_has_a_case_and_is_documented()
    {
        Assert.Equal(DesignRules.All.Select(rule => rule.Id).Order(), ReviewCase.All.Select(at => at.Rule).Distinct().Order());
        string text = File.ReadAllText(Path.Combine(Path.GetDirectoryName(RecipesDocument.Path)!, "review-rules.md"));
        foreach (var rule in DesignRules.All) Assert.Contains($"| `{rule.Id}` | {rule.About} |", text);
    }

    [Theory]
    [InlineData("1B-inter-1:5")]
    [InlineData("1B-inter-1:12")]
    [InlineData("1B-inter-1:1")]
    [InlineData("1B-llama")]
    [InlineData("1B-swa-1:5")]
    [InlineData("1B-inter-1:5-moe")]
    [InlineData("3B-inter-1:5")]
    public void The_papers_best_have_nothing_to_mend(string name) => Assert.Empty(Recipes.Get(name).Design.Review());

    [Theory]
    [InlineData("1B-inter-1:5-front", "attention-first")]
    [InlineData("1B-inter-1:12-at-1", "attention-first")]
    [InlineData("1B-inter-1:12-at-2", "attention-early")]
    [InlineData("1B-intra-1:5-sandwich", "intra-sandwich")]
    [InlineData("1B-intra-1:3-cluster", "intra-clustered")]
    [InlineData("1B-intra-1:0-difference-norm-scale", "intra-scale")]
    [InlineData("1B-intra-1:0-add", "intra-norm")]
    [InlineData("1B-mamba", "no-attention")]
    [InlineData("1B-swa-0:1", "window-alone")]
    [InlineData("100M-llama", "head-share")]
    public void The_papers_worse_variants_are_recognised(string name, string rule) =>
        Assert.Contains(Recipes.Get(name).Design.Review(), finding => finding.Rule == rule);

    [Fact]
    public void A_front_block_is_moved_to_where_the_paper_has_it()
    {
        Assert.Equal("MMMMMMTMMMMMM", Recipes.Get("1B-inter-1:12-at-1").Design.Review().Fixed().Pattern);
        var front = Recipes.Get("1B-inter-1:5-front").Design;
        Assert.Equal(front.CountParameters().Total, front.Review().Fixed().CountParameters().Total);
        Assert.DoesNotContain(front.Review().Fixed().Review(), finding => finding.Rule == "attention-first");
    }

    [Fact]
    public void Rules_are_switched_off_by_id_and_added_by_the_user()
    {
        var design = Recipes.Get("1B-inter-1:5-front").Design;
        Assert.DoesNotContain(design.Review(new() { Off = ["attention-first"] }), finding => finding.Rule == "attention-first");
        var deep = new DesignRule("deep", "More blocks than ten.", (whole, _) => whole.Depth <= 10 ? [] :
            [new Finding("deep", Severity.Info, null, $"{whole.Depth} blocks.", new("10 at most", "here"),
            new("Depth(10)", cut => cut with { Blocks = [.. cut.Blocks.Take(10)] }, Safe: true))]);
        var review = design.Review(new() { Rules = [deep] });
        Assert.Contains(review, finding => finding.Rule == "deep");
        Assert.Equal(10, review.Fixed().Depth);
        Assert.Equal(review.Count, review.ToString().Split('\n').Length);
        Assert.Equal("off", Assert.ThrowsAny<ArgumentException>(() => design.Review(new() { Off = ["nothing"] })).ParamName);
        Assert.Equal("rules", Assert.ThrowsAny<ArgumentException>(() => design.Review(new() { Rules = [deep, deep] })).ParamName);
        Assert.Equal("trainingLength", Assert.ThrowsAny<ArgumentException>(() => design.Review(new() { TrainingLength = 0 })).ParamName);
    }

    [Fact]
    public void What_cannot_be_built_is_reviewed_from_its_builder()
    {
        var start = HybridDesign.Create(64, 100).WithAttention(4)
            .WithMamba2(new Mamba2Spec { StateSize = 16, HeadSize = 16, Groups = 3, ChunkSize = 40 }).Pattern("MMTM");
        Assert.Throws<ArgumentException>(start.Build);
        var review = start.Review();
        Assert.Equal([("head-groups", "[1, 2, 4]"), ("chunk-power", "[1, 2, 4]")],
            review.Select(finding => (finding.Rule, finding.Layers.ToString())));
        Assert.All(review, finding => Assert.Equal(Severity.Error, finding.Severity));
        Assert.Contains("layers 1-2, 4: 8 heads cannot be divided among 3 groups of B and C", review.ToString());
        var cured = review.Aggregate(review.Design, (design, finding) => finding.Remedy.Apply!(design));
        Assert.Equal([(2, 32), (2, 32), (2, 32)],
            cured.Blocks.Select(block => block.Mixer).OfType<Mamba2Spec>().Select(spec => (spec.Groups, spec.ChunkSize)));
        // the rest of the rules see it then
        Assert.NotEmpty(HybridDesign.Create(64, 100).WithAttention(4).WithMamba2(16, 16).Pattern("TMMM").Review());
        Assert.Contains("heads", Assert.Throws<ArgumentException>(
            () => HybridDesign.Create(64, 100).WithAttention(4).WithMamba2(new Mamba2Spec { Heads = -1 }).Pattern("MTM").Review()).Message);
        var open = new HybridDesign { Width = 64, VocabularySize = 100, Blocks = [new() { Mixer = new AttentionSpec { Heads = 4 } }] };
        Assert.Contains("keyValueHeads is 0", Assert.Throws<ArgumentException>(() => open.Review()).Message);
        Assert.Contains("groups", Assert.Throws<ArgumentException>(() => start.Review(new() { Off = ["head-groups", "chunk-power"] })).Message);
    }

    [Fact]
    public void What_layers_have_alike_is_one_finding_whose_cure_mends_them_all()
    {
        var start = HybridDesign.Create(64, 100).WithAttention(4, headSize: 12)
            .WithMamba2(new Mamba2Spec { StateSize = 16, HeadSize = 16, ChunkSize = 8 });
        var review = start.Pattern("MMTMTM").Build().Review();
        var chunks = Assert.Single(review, finding => finding.Rule == "chunk-size");
        Assert.Equal((1, "[1, 2, 4, 6]"), (chunks.Layer!.Value, chunks.Layers.ToString()));
        Assert.Contains("info chunk-size, layers 1-2, 4, 6: the chunk size is 8.", review.ToString());
        Assert.All(chunks.Remedy.Apply!(review.Design).Blocks.Select(block => block.Mixer).OfType<Mamba2Spec>(),
            spec => Assert.Equal(64, spec.ChunkSize));
        Assert.Equal("[3, 5]", Assert.Single(review, finding => finding.Rule == "head-size").Layers.ToString());
        // another size is another finding
        var two = start.Pattern("MMTMTM")
            .Override(5, block => block with { Mixer = (AttentionSpec)block.Mixer! with { HeadSize = 20, ValueHeadSize = 20 } }).Build().Review();
        Assert.Equal(["[3]", "[5]"], two.Where(finding => finding.Rule == "head-size").Select(finding => finding.Layers.ToString()));
        Assert.Empty(new Finding("r", Severity.Info, null, "", new("1", "here"), new("nothing")).Layers);
    }

    [Fact]
    public void A_cure_and_a_rule_print_what_they_say()
    {
        var remedy = Recipes.Get("1B-inter-1:5-front").Design.Review()[0].Remedy;
        Assert.Equal(remedy.Change, remedy.ToString());
        Assert.StartsWith(".Pattern(\"", remedy.ToString());
        Assert.DoesNotContain("System.", Recipes.Get("1B-inter-1:5-front").Design.Review().ToString());
        Assert.Equal("head-size: A head size that is not a multiple of 8.", DesignRules.All.Single(rule => rule.Id == "head-size").ToString());
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(6)]
    [InlineData(13)]
    public void The_cure_of_a_stack_without_attention_fits_its_depth(int depth)
    {
        var start = HybridDesign.Create(64, 100).WithMamba2(16, 16).WithFeedForward(FeedForwardSpec.SwiGlu(256)).Depth(depth);
        var finding = Assert.Single(start.Build().Review(), finding => finding.Rule == "no-attention");
        Assert.Equal($".Override({depth / 2 + 1}, block => block with {{ Mixer = new AttentionSpec {{ Heads = 1, Rotary = new() }} }})",
            finding.Remedy.ToString());
        var asSaid = start.Override(depth / 2 + 1, block => block with { Mixer = new AttentionSpec { Heads = 1, Rotary = new() } }).Build();
        Assert.Equal(asSaid, finding.Remedy.Apply!(start.Build()));
        Assert.DoesNotContain(asSaid.Review(), again => again.Rule == "no-attention");
    }

    [Fact]
    public void Worst_findings_come_first()
    {
        var severities = Recipes.Get("1B-inter-1:12-at-1").Design.Review(new() { RecalledPairs = 9 }).Select(finding => finding.Severity).ToList();
        Assert.Equal(Severity.Error, severities[0]);
        Assert.Equal(severities.OrderDescending(), severities);
    }
}
