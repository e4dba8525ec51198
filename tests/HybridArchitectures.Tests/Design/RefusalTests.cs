using HybridArchitectures.Design;
using HybridArchitectures.Kernels;

namespace HybridArchitectures.Tests.Design;

public class RefusalTests
{
    static HybridDesignBuilder Small => HybridDesign.Create(width: 64, vocabularySize: 256).WithFeedForward(FeedForwardSpec.SwiGlu(128));

    static HybridDesignBuilder Hybrid => Small.WithAttention(heads: 8, keyValueHeads: 2).WithMamba2(stateSize: 16, headSize: 16);

    static IntraHybridSpec Intra => new() { Attention = new() { Heads = 4, KeyValueHeads = 2 }, StateSpace = new Mamba2Spec { Heads = 4 } };

    static HybridDesign With(MixerSpec mixer) => Small.WithMixer(mixer).Depth(1).Build();

    static HybridDesign With(FeedForwardSpec feedForward) => Hybrid.WithFeedForward(feedForward).Depth(2).Ratio(1, 1).Build();

    static readonly Dictionary<string, (Func<object?> Act, string Message)> refusals = new()
    {
        ["width 0"] = (() => HybridDesign.Create(0, 256), "width is 0; expected at least 1"),
        ["width beyond reason"] = (() => HybridDesign.Create(int.MaxValue, 256), "width is 2147483647; expected at most 1048576"),
        ["negative vocabulary"] = (() => HybridDesign.Create(64, -5), "vocabularySize is -5; expected at least 1"),
        ["depth 0"] = (() => Hybrid.Depth(0), "depth is 0; expected 1 to 4096"),
        ["no depth"] = (() => Hybrid.Ratio(1, 1).Build(), "depth is null; expected Depth, or a pattern"),
        ["no kind"] = (() => Small.Depth(2).Build(), "mixer is null; expected at least one kind of block"),

        ["ratio that places none"] = (
        () => Hybrid.Depth(4).Ratio(1, 12).Build(), "ratio is \"1:12\"; expected a ratio with at least one block of \"T\" in a depth of 4"),
        ["ratio that leaves none"] = (
        () => Hybrid.Depth(4).Ratio(12, 1).Build(), "ratio is \"12:1\"; expected a ratio that leaves at least one block of \"M\" in a depth of 4"),
        ["ratio 0:0"] = (() => Hybrid.Ratio(0, 0), "ratio is \"0:0\"; expected a share above 0"),
        ["negative share"] = (() => Hybrid.Ratio(1, -1), "ssm is -1; expected 0 to"),
        ["two kinds without ratio"] =
        (() => Hybrid.Depth(4).Build(), "ratio is null; expected Ratio, Place with positions or Pattern, because there are two kinds: T, M"),
        ["ratio without attention"] =
        (() => Small.WithMamba2(16).Depth(4).Ratio(1, 1).Build(), "attention is 1; expected 0 without a kind of attention; see WithAttention"),
        ["ratio without state-space"] =
        (() => Small.WithAttention(8).Depth(4).Ratio(1, 1).Build(), "ssm is 1; expected 0 without a state-space kind; see WithMamba2"),
        ["ratio of one own kind"] = (() => Small.WithMixer(new ShiftSpec(1)).Depth(4).Ratio(1, 1).Build(),
        "ratio is \"1:1\"; expected 1:0 or 0:1, because \"X\" is the only kind"),
        ["ratio of two state-space kinds"] =
        (() => Small.WithMamba1().WithMamba2(16).Depth(4).Ratio(1, 1).Build(), "kinds is \"m, M\"; expected a kind of attention among the two"),
        ["ratio of three kinds"] = (() => Hybrid.WithMamba1().Depth(4).Ratio(1, 1).Build(),
        "kinds is \"T, M, m\"; expected one state-space kind, not m and M; name two for the ratio"),
        ["positions among three kinds"] = (() => Hybrid.WithMamba1().Depth(4).Place(2).Build(), "kinds is \"T, M, m\"; expected two without a ratio"),
        ["ratio of two kinds of attention and others"] =
        (() => Small.WithSlidingWindow(8, heads: 4).WithIntraHybrid(Intra).WithMamba2(16).Depth(4).Ratio(1, 1).Build(),
            "expected one kind of attention, not H and S"),
        ["ratio of a kind with itself"] = (() => Hybrid.Ratio("M", 1, "M", 1), "second is \"M\"; expected another kind than \"M\""),
        ["ratio of a kind not described"] =
        (() => Hybrid.Depth(4).Ratio("H", 1, "M", 1).Build(), "kind is \"H\"; expected one that is described: T, M; see WithIntraHybrid"),

        ["no positions"] = (() => Hybrid.Place([]), "positions is \"empty\"; expected at least one"),
        ["position 0"] = (() => Hybrid.Place(0, 3), "positions is 0; expected positions from 1 on"),
        ["position twice"] = (() => Hybrid.Place(3, 1, 3), "positions is \"3 twice\"; expected each position once"),
        ["position beyond the depth"] = (() => Hybrid.Depth(4).Place(2, 5).Build(), "positions is 5; expected 1 to depth = 4"),
        ["positions against the ratio"] =
        (() => Hybrid.Depth(12).Ratio(1, 5).Place(4).Build(),
        "positions is \"[4]\"; expected 2 positions, the number of blocks for ratio 1:5 and depth 12"),
        ["positions of the only kind"] =
        (() => Small.WithMamba2(16).Depth(4).Place(2).Build(), "positions is [2]; expected none, because \"M\" is the only kind"),
        ["sandwich of one"] = (() => Hybrid.Depth(6).Ratio(1, 5).Place(Placement.Sandwich).Build(),
        "placement is Sandwich; expected another placement for 1 block"),
        ["placement that is none"] = (() => Hybrid.Place((Placement)9), "placement is 9; expected one of Middle, Even, Front"),
        ["override beyond the depth"] = (() => Hybrid.Pattern("MT").Override(3, block => block).Build(), "position is 3; expected 1 to depth = 2"),
        ["override to nothing"] = (() => Hybrid.Pattern("MT").Override(1, _ => null!).Build(), "change is null; expected a block for position 1"),

        ["pattern with ratio"] = (() => Hybrid.Pattern("MT").Ratio(1, 1).Build(), "pattern is \"MT\"; expected no ratio or placement with it"),
        ["pattern against depth"] = (() => Hybrid.Pattern("MT").Depth(3).Build(), "depth is 3; expected 2, the number of blocks in the pattern"),
        ["empty pattern"] = (() => Hybrid.Pattern(" "), "pattern is \" \"; expected at least one block"),
        ["pattern with a stray mark"] = (() => Hybrid.Pattern("M|T"), "found '|' at position 2"),
        ["pattern of a kind not described"] =
        (() => Hybrid.Pattern("MQ").Build(), "kind is \"Q\"; expected one that is described: T, M; see WithMixer"),
        ["pattern with experts not described"] =
        (() => Hybrid.Pattern("Me").Build(), "pattern is \"Me\"; expected a mixture of experts; see WithExperts"),
        ["pattern repeated not at all"] = (() => Hybrid.Pattern("M", 0), "repeat is 0; expected at least 1"),
        ["block of nothing"] = (() => HybridDesign.Create(64, 256).WithMamba2(16).Pattern("M-").Build(),
        "block 2: mixer is null; expected a mixer in a block without a feed-forward"),

        ["heads not dividing the width"] =
        (() => With(new AttentionSpec { Heads = 7 }), "block 1: heads is 7; expected a divisor of the width 64, or a head size"),
        ["no heads"] = (() => With(new AttentionSpec { Heads = 0 }), "heads is 0; expected at least 1"),
        ["key-value heads not dividing heads"] =
        (() => With(new AttentionSpec { Heads = 8, KeyValueHeads = 3 }), "block 1: mixer T: keyValueHeads is 3; expected a divisor of heads = 8"),
        ["negative head size"] = (() => With(new AttentionSpec { Heads = 8, HeadSize = -1 }), "headSize is -1; expected at least 1"),
        ["odd head size with rotary"] =
        (() => With(new AttentionSpec { Heads = 8, HeadSize = 9, Rotary = new() }),
        "headSize is 9; expected a size with room for the pairs that rotary fraction 1 takes of it, 9 dimensions in pairs"),
        ["rotary part of nothing"] = (
        () => With(new AttentionSpec { Heads = 8, HeadSize = 14, Rotary = new() { Fraction = 0.05 } }),
        "rotary fraction 0.05 takes of it, 0 dimensions in pairs"),
        ["rotary fraction above 1"] =
        (() => With(new AttentionSpec { Heads = 8, Rotary = new() { Fraction = 1.5 } }), "fraction is 1.5; expected a number above 0 and at most 1"),
        ["theta not finite"] = (() => With(new AttentionSpec { Heads = 8, Rotary = new() { Theta = double.NaN } }),
        "theta is NaN; expected a finite number above 0"),
        ["rotary scaling upside down"] =
        (() => With(new AttentionSpec { Heads = 8, Rotary = new() { Scaling = new Llama3RotaryScaling(32, 4, 1, 8192) } }),
        "scaling.highFrequencyFactor is 1; expected a finite number above lowFrequencyFactor = 4"),
        ["window 0"] = (() => Small.WithSlidingWindow(0), "window is 0; expected at least 1"),
        ["sinks without window"] = (() => With(new AttentionSpec { Heads = 8, Sinks = 4 }), "sinks is 4; expected 0 without a window"),
        ["window for attention"] = (() => Small.WithAttention(new AttentionSpec { Heads = 8, Window = 4 }),
        "attention is \"windowed (4)\"; expected attention without a window"),
        ["sliding window without heads"] =
        (() => Small.WithSlidingWindow(8).Depth(1).Build(), "heads is 0; expected at least 1 for the sliding window, or WithAttention"),
        ["scale 0"] = (() => With(new AttentionSpec { Heads = 8, Scale = 0 }), "scale is 0; expected a finite number above 0"),

        ["groups not dividing heads"] =
        (() => With(new Mamba2Spec { Heads = 8, Groups = 3 }), "block 1: mixer M: groups is 3; expected a divisor of heads = 8"),
        ["head size not dividing the inner width"] =
        (() => With(new Mamba2Spec { HeadSize = 48 }), "headSize is 48; expected a divisor of inner width = 128"),
        ["chunk not a power of two"] = (() => With(new Mamba2Spec { ChunkSize = 48 }), "chunkSize is 48; expected a power of two"),
        ["norm groups not dividing"] = (() => With(new Mamba2Spec { NormGroups = 3 }), "normGroups is 3; expected a divisor of inner width = 128"),
        ["convolution of nothing"] = (() => With(new Mamba1Spec { ConvolutionWidth = 0 }), "convolutionWidth is 0; expected at least 1"),
        ["negative state"] = (() => With(new Mamba1Spec { StateSize = -16 }), "stateSize is -16; expected at least 1"),
        ["sizes that overflow"] = (() => With(new Mamba2Spec { Heads = 1 << 20, HeadSize = 1 << 20 }),
        "heads x headSize is 1099511627776; expected at most 1048576"),
        ["decay range upside down"] =
        (() => With(new Mamba2Spec { DecayRange = new(2, 1) }), "decayRange is [2, 1]; expected finite limits with 0 < minimum <= maximum"),

        ["shared values of another width"] =
        (() => With(Intra with { SharedValues = true, Attention = new() { Heads = 4, KeyValueHeads = 2, ValueHeadSize = 16 } }),
            "sharedValues is True; expected false, or keyValueHeads x valueHeadSize = 32 equal to the inner width 64 of the state-space branch"),
        ["shared values that cannot be parted"] =
        (() => With(Intra with { SharedValues = true, Attention = new() { Heads = 6, KeyValueHeads = 6, HeadSize = 8 } }),
            "attention.keyValueHeads is 6; expected a divisor of the inner width 64 of the state-space branch"),
        ["joint sum of unequal widths"] =
        (() => With(Intra with { Output = OutputProjection.Joint, Fusion = FusionKind.Add,
            StateSpace = new Mamba2Spec { Heads = 4, HeadSize = 24 } }),
            "output is Joint; expected Separate, Concat, or branches of equal width; attention has width 64, the state-space branch 96"),
        ["concat with separate projections"] = (() => With(Intra with { Fusion = FusionKind.Concat }), "output is Separate; expected Joint"),
        ["joint projection with a bias"] =
        (() => With(Intra with { Output = OutputProjection.Joint, Attention = Intra.Attention with { OutputBias = true } }),
        "attention.outputBias is True; expected false"),
        ["attention twice in one block"] =
        (() => With(Intra with { StateSpace = new AttentionSpec { Heads = 4 } }),
        "stateSpace is \"AttentionSpec\"; expected a Mamba1Spec or a Mamba2Spec"),
        ["bad branch"] = (() => With(Intra with { StateSpace = new Mamba2Spec { Heads = 4, Groups = 3 } }),
        "block 1: mixer H: stateSpace: groups is 3; expected a divisor of heads = 4"),
        ["fusion that is none"] = (() => With(Intra with { Fusion = (FusionKind)7 }), "Fusion is 7; expected one of Add, Difference, Gate, Concat"),

        ["feed-forward of width 0"] = (() => With(FeedForwardSpec.SwiGlu(0)), "block 1: feed-forward: width is 0; expected at least 1"),
        ["more experts per token than experts"] =
        (() => With(FeedForwardSpec.MixtureOfExperts(4, 5, 32)), "feed-forward: expertsPerToken is 5; expected 1 to experts = 4"),
        ["shared width without shared experts"] =
        (() => With(FeedForwardSpec.MixtureOfExperts(4, 1, 32, sharedWidth: 8)), "sharedWidth is 8; expected 0 without shared experts"),
        ["negative router loss"] = (() => With(FeedForwardSpec.MixtureOfExperts(4, 1, 32, routerZLoss: -1)),
        "routerZLoss is -1; expected a finite number of at least 0"),

        ["letter taken"] = (() => Small.WithMixer(new LetterSpec("T")), "symbol is \"T\"; expected one letter that has no other meaning"),
        ["two letters"] = (() => Small.WithMixer(new LetterSpec("AB")), "symbol is \"AB\"; expected one letter"),
        ["letter taken in a design"] =
        (() => new HybridDesign { VocabularySize = 4, Width = 4, Blocks = [new() { Mixer = new LetterSpec("e") }] }.Resolve(),
        "block 1: symbol is \"e\""),
        ["norm epsilon 0"] = (() => Hybrid.NormEpsilon(0), "epsilon is 0; expected a finite number above 0"),
        ["deviation below 0"] = (() => Hybrid.WithInitialisation(new() { StandardDeviation = -1 }),
        "standardDeviation is -1; expected a finite number of at least 0"),
        ["design without blocks"] = (() => new HybridDesign { VocabularySize = 4, Width = 4, Blocks = [] }.Resolve(),
        "depth is 0; expected 1 to 4096"),
    };

    public static TheoryData<string> Cases => [.. refusals.Keys];

    [Theory]
    [MemberData(nameof(Cases))]
    public void What_cannot_be_built_is_refused_with_the_reason(string @case)
    {
        var (act, message) = refusals[@case];
        var refusal = Assert.ThrowsAny<ArgumentException>(act);
        Assert.Contains(message, refusal.Message);
        Assert.Matches(@"; expected .+\. \(Parameter '\w+'\)$", refusal.Message);
        Assert.False(string.IsNullOrEmpty(refusal.ParamName));
        Assert.Single(refusal.Message.Split("(Parameter"), part => part.StartsWith(" '", StringComparison.Ordinal));
    }

    [Fact]
    public void Null_is_refused_by_name()
    {
        Assert.Equal("attention", Assert.Throws<ArgumentNullException>(() => Small.WithAttention((AttentionSpec)null!)).ParamName);
        Assert.Equal("mixer", Assert.Throws<ArgumentNullException>(() => Small.WithMixer(null!)).ParamName);
        Assert.Equal("feedForward", Assert.Throws<ArgumentNullException>(() => Small.WithFeedForward(null!)).ParamName);
        Assert.Equal("pattern", Assert.Throws<ArgumentNullException>(() => Small.Pattern(null!)).ParamName);
        Assert.Equal("other", Assert.Throws<ArgumentNullException>(() => Designs.Everything.Diff(null!)).ParamName);
    }
}
