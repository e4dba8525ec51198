using HybridArchitectures.Design;

namespace HybridArchitectures.Benchmarks.Gpu;

/// <summary>Describes a design whose training memory is measured.</summary>
sealed record TrainingMemoryCase(string Name, HybridDesign Design, int Length, int Batch)
{
    /// <summary>Returns one case of each kind of layer, and a hybrid of several.</summary>
    public static IEnumerable<TrainingMemoryCase> All(bool tiny)
    {
        int width = tiny ? 256 : 1024, length = tiny ? 512 : 2048, heads = width / 64;
        var none = HybridDesign.Create(width, tiny ? 512 : 16_384);
        var start = none.WithAttention(heads, heads / 4).WithSlidingWindow(tiny ? 128 : 512).WithMamba2(128, 64).WithMamba1()
            .WithMixer(new GatedDeltaSpec { KeyHeads = heads / 2, ValueHeads = heads, KeyHeadSize = 64 })
            .WithMixer(new KimiDeltaSpec { Heads = heads, HeadSize = 64 })
            .WithIntraHybrid(new AttentionSpec { Heads = heads / 2, KeyValueHeads = heads / 4, HeadSize = 72, ValueHeadSize = 128, Rotary = new() },
                new Mamba2Spec { Heads = heads, HeadSize = 64, StateSize = 128, GatedNorm = false })
            .WithFeedForward(FeedForwardSpec.SwiGlu(3 * width));
        var experts = FeedForwardSpec.MixtureOfExperts(8, 2, width, sharedExperts: 1);
        TrainingMemoryCase Of(string name, HybridDesignBuilder builder) => new(name, builder.Build(), length, 4);
        yield return Of("attention", start.Pattern("TTTTTT"));
        yield return Of("attention with a window", start.Pattern("SSSSSS"));
        yield return Of("Mamba-1", start.Pattern("mmmmmm"));
        yield return Of("Mamba-2", start.Pattern("MMMMMM"));
        yield return Of("Mamba-2, heads of 128", start.WithMamba2(128, 128).Pattern("MMMMMM"));
        yield return Of("intra-layer hybrid", start.Pattern("HHHHHH"));
        yield return Of("gated delta net", start.Pattern("GGGGGG"));
        yield return Of("Kimi delta attention", start.Pattern("KKKKKK"));
        yield return Of("experts", start.WithFeedForward(experts).Pattern("TTTTTT"));
        yield return Of("hybrid", start.Pattern("MMTMMM"));
        yield return Of("hybrid of mixers alone", start.WithFeedForward(FeedForwardSpec.None).Pattern("MMHMmT"));
    }
}
