using HybridArchitectures.Design;

namespace HybridArchitectures.Benchmarks.Gpu;

/// <summary>Describes a design and the rows of a training step that is measured.</summary>
/// <param name="Name">The name of the case.</param>
/// <param name="Design">The design.</param>
/// <param name="Rows">The number of rows of a step.</param>
/// <param name="Length">The number of tokens of a row.</param>
sealed record TrainingStepCase(string Name, HybridDesign Design, int Rows, int Length)
{
    /// <summary>Gets or sets whether documents of about 1,000 tokens are kept apart. The default is false.</summary>
    public bool SeparateDocuments { get; init; }

    /// <summary>Gets or sets whether blocks are computed again for their gradients. The default is false.</summary>
    public bool Checkpointing { get; init; }

    /// <summary>Gets or sets the number of last blocks that are not. The default, null, means those that take no memory.</summary>
    public int? SavedBlocks { get; init; }

    /// <summary>Gets or sets the letter of the layers in the PyTorch script. The default, null, means that it has no such model.</summary>
    public string? Rival { get; init; }

    /// <summary>Gets or sets the number of timed steps. The default is 6.</summary>
    public int TimedSteps { get; init; } = 6;

    /// <summary>The name of the model of gated delta nets, which is not a recipe.</summary>
    public const string DeltaName = "1B gated delta";

    /// <summary>Returns all cases; small ones of the same kinds if <paramref name="tiny"/> is true.</summary>
    public static IEnumerable<TrainingStepCase> All(bool tiny)
    {
        int length = tiny ? 128 : 8192;
        HybridDesign Named(string name) => tiny ? Small(name) : Recipes.Get(name).Design;
        TrainingStepCase Of(string name) => new(name, Named(name), 2, length);
        yield return Of("1B-llama") with { Rival = "T" };
        yield return Of("1B-mamba") with { Rival = "S" };
        var inter = Of("1B-inter-1:5");
        yield return inter;
        yield return Of("1B-intra-1:5");
        yield return Of("1B-swa-1:5");
        yield return inter with { Name = "1B-inter-1:5, documents apart", SeparateDocuments = true };
        yield return inter with { Name = "1B-inter-1:5, checkpointing", Checkpointing = true };
        foreach (int blocks in (int[])[0, 4, 6])
            yield return inter with { Name = $"1B-inter-1:5, checkpointing, {blocks} blocks saved", Checkpointing = true, SavedBlocks = blocks };
        yield return inter with { Name = "1B-inter-1:5, 32K", Rows = 1, Length = 4 * length };
        yield return inter with { Name = "1B-inter-1:5, one row", Rows = 1 };
        yield return Of("1B-inter-1:5-moe") with { Rows = 1 };
        yield return new(DeltaName, DeltaNets(tiny), 1, length);
        yield return new("24M", Hybrid24M(tiny), tiny ? 2 : 16, tiny ? 64 : 1024) { TimedSteps = 30 };
        yield return new("11M", Hybrid11M(tiny), tiny ? 2 : 16, tiny ? 64 : 1024) { TimedSteps = 30 };
    }

    static HybridDesign Small(string name)
    {
        var builder = HybridDesign.Create(128, 512).WithAttention(2, 1).WithSlidingWindow(32).WithMamba2(64, 64)
            .WithIntraHybrid(new AttentionSpec { Heads = 2, KeyValueHeads = 1, HeadSize = 32, ValueHeadSize = 64, Rotary = new() },
                new Mamba2Spec { Heads = 2, HeadSize = 64, StateSize = 64, GatedNorm = false })
            .WithFeedForward(name.EndsWith("moe", StringComparison.Ordinal) ? FeedForwardSpec.MixtureOfExperts(8, 2, 128)
                : FeedForwardSpec.SwiGlu(256));
        string pattern = name[3..] switch { "llama" => "TT", "mamba" => "MM", "intra-1:5" => "MH", "swa-1:5" => "ST", _ => "MT" };
        return builder.Pattern(pattern).Build();
    }

    static HybridDesign DeltaNets(bool tiny)
    {
        int width = tiny ? 128 : 2048, heads = width / 64;
        return HybridDesign.Create(width, tiny ? 512 : 128_256).WithAttention(heads, Math.Max(1, heads / 4))
            .WithMixer(new GatedDeltaSpec { KeyHeads = heads / 2, ValueHeads = heads, KeyHeadSize = tiny ? 64 : 128 })
            .WithFeedForward(FeedForwardSpec.SwiGlu(4 * width)).Pattern(tiny ? "GT" : "GGGTGGGTGGGGG").Build();
    }

    static HybridDesign Hybrid24M(bool tiny)
    {
        int width = tiny ? 64 : 512;
        return HybridDesign.Create(width, tiny ? 256 : 4096).WithAttention(width / 64, Math.Max(1, width / 256)).WithMamba2(64, 64)
            .WithFeedForward(FeedForwardSpec.SwiGlu(tiny ? 128 : 1408)).Pattern("MMTMMM").Build();
    }

    // the size of lab/experiments
    static HybridDesign Hybrid11M(bool tiny)
    {
        int width = tiny ? 64 : 256;
        return HybridDesign.Create(width, tiny ? 256 : 8192).WithAttention(width / 64, Math.Max(1, width / 128)).WithMamba2(64, 64)
            .WithFeedForward(FeedForwardSpec.SwiGlu(tiny ? 128 : 640)).Pattern("MMMTMMMMMTMM").Build();
    }
}
