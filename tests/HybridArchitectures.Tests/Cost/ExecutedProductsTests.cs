using System.Diagnostics;
using HybridArchitectures.Cost;
using HybridArchitectures.Design;

namespace HybridArchitectures.Tests.Cost;

/// <summary>
/// Compares the counted operations of matrix products with those that libtorch executed: forward, in training, with checkpointing and in a decoding
/// step.
/// </summary>
public sealed class ExecutedProductsTests(ExecutedProductsTests.Traces traces) : IClassFixture<ExecutedProductsTests.Traces>
{
    const int Rows = 2, Length = 128;

    static readonly Dictionary<string, HybridDesign> Designs = Made();

    public static TheoryData<string> Names => [.. Designs.Keys];

    static Dictionary<string, HybridDesign> Made()
    {
        var start = HybridDesign.Create(64, 96).WithAttention(4, 2).WithSlidingWindow(24, 2, heads: 4, keyValueHeads: 2).WithMamba1()
            .WithMamba2(16, 16, groups: 8)
            .WithIntraHybrid(new AttentionSpec { Heads = 2, KeyValueHeads = 1, HeadSize = 16, ValueHeadSize = 16, Rotary = new() },
                new Mamba2Spec { Heads = 4, Groups = 4, HeadSize = 16, StateSize = 16, ChunkSize = 32, GatedNorm = false })
            .WithMixer(new GatedDeltaSpec { KeyHeads = 2, ValueHeads = 4, KeyHeadSize = 16, ValueHeadSize = 24, ChunkSize = 32 })
            .WithMixer(new KimiDeltaSpec { Heads = 4, HeadSize = 16, ValueHeadSize = 24 }).WithMixer(new Rwkv7Spec { Heads = 4 })
            .WithFeedForward(FeedForwardSpec.SwiGlu(80)).WithExperts(FeedForwardSpec.MixtureOfExperts(4, 2, 48, sharedExperts: 1));
        HybridDesign Of(string pattern, HybridDesignBuilder? builder = null) => (builder ?? start).Pattern(pattern).Build();
        return new()
        {
            ["attention"] = Of("T"), ["window"] = Of("S"), ["Mamba-1"] = Of("m"), ["Mamba-2"] = Of("M"),
                ["Mamba-2 in groups"] = Of("M", start.WithMamba2(16, 16, groups: 2)),
            ["intra-layer hybrid"] = Of("H"), ["gated delta net"] = Of("G"), ["Kimi delta"] = Of("K"), ["RWKV-7"] = Of("W"), ["experts"] = Of("Me"),
            ["hybrid"] = Of("MMTmSe-H") with { TiedHead = false },
            ["shared transformer"] = Of("M+MM+",
            start.WithSharedTransformers(new() { Attention = new() { Heads = 4, Rotary = new() }, FeedForward = new(96) }, 1, 8, 8)),
        };
    }

    [Theory, MemberData(nameof(Names))]
    public void A_forward_pass_executes_the_products_that_are_counted(string name)
    {
        var (executed, counted) = (traces.Get(name, "forward"), FlopCount.OfText(Designs[name], Length, FlopAccounting.MatrixProducts));
        AssertProducts(counted.Forward, counted.Blocks, name, executed.Products);
        Assert.Equal(Attention(name, Length), executed.Attention);
    }

    // but for the delta rules: the gradient of their triangular solution is libtorch's, which multiplies more
    public static TheoryData<string> NamesTrained =>
        [.. Designs.Where(design => !design.Value.Pattern.AsSpan().ContainsAny('G', 'K', 'W')).Select(design => design.Key)];

    [Theory, MemberData(nameof(NamesTrained))]
    public void Training_executes_three_forward_passes(string name)
    {
        var (executed, counted) = (traces.Get(name, "training"), FlopCount.OfText(Designs[name], Length, FlopAccounting.MatrixProducts));
        AssertProducts(counted.Training, counted.Blocks, name, executed.Products, times: 3);
        // its gradient computes the scores again: five products for two
        Assert.Equal(Attention(name, Length) * 3.5, executed.Attention);
    }

    [Theory, MemberData(nameof(Names))]
    public void Checkpointing_executes_the_blocks_once_more_without_their_last_product(string name)
    {
        var (plain, checkpointed, forward) = (traces.Get(name, "training"), traces.Get(name, "checkpointed"), traces.Get(name, "forward"));
        var counted = FlopCount.OfText(Designs[name], Length, FlopAccounting.MatrixProducts);
        double notRepeated = 4 * counted.Forward - counted.Head - counted.CheckpointedTraining;
        Assert.Equal(forward.Products - Rows * Length * (counted.Head + notRepeated), checkpointed.Products - plain.Products);
        Assert.Equal(forward.Attention, checkpointed.Attention - plain.Attention);
    }

    [Theory, MemberData(nameof(Names))]
    public void A_decoding_step_executes_the_products_that_are_counted(string name)
    {
        var (executed, counted) = (traces.Get(name, "step"), FlopCount.OfStep(Designs[name], Length, FlopAccounting.MatrixProducts));
        // one token's scan is no matrix product
        double scans = Designs[name].Blocks.Sum(block => (block.Mixer as IntraHybridSpec)?.StateSpace is { } inner ? Scan(inner) : Scan(block.Mixer));
        double attention = AttentionCounted(name, counted.Blocks, null);
        Assert.Equal(Rows * (counted.Forward - attention - scans), executed.Products, 0.5);
        Assert.Equal(Rows * attention, executed.Attention, 0.5);

        static double Scan(MixerSpec? mixer) => mixer switch
        {
            IStateSpaceSpec scan => 4.0 * scan.InnerWidth * scan.StateSize,
            GatedDeltaSpec delta => 6.0 * delta.ValueWidth * delta.KeyHeadSize,
            KimiDeltaSpec delta => 6.0 * delta.ValueWidth * delta.HeadSize,
            Rwkv7Spec rwkv => 8.0 * rwkv.InnerWidth * rwkv.HeadSize,
            _ => 0,
        };
    }

    // all but attention, which is counted apart; a selective scan is no matrix product; the composed dual multiplies every head of a group by itself
    static void AssertProducts(double counted, IReadOnlyList<BlockFlops> blocks, string name, double executed, double times = 1)
    {
        double elsewhere = 0;
        foreach (var mixer in Designs[name].Blocks.Select(block => block.Mixer))
        {
            if (mixer is Mamba1Spec scan) elsewhere += 4.0 * scan.InnerWidth * scan.StateSize;
            if (mixer is Mamba2Spec dual) elsewhere -= 2.0 * (dual.Heads - dual.Groups) * dual.StateSize * Math.Min(dual.ChunkSize, Length);
        }
        Assert.Equal(Rows * Length * (counted - times * (AttentionCounted(name, blocks, Length) + elsewhere)), executed, 0.5);
    }

    // what the cost model counts between queries and keys, for a token
    static double AttentionCounted(string name, IReadOnlyList<BlockFlops> blocks, int? length) => Attentions(name).Sum(spec =>
        2.0 * (spec.QueryWidth + spec.OutputWidth) * (
            length is { } tokens ? Enumerable.Range(1, tokens).Average(token => (double)Seen(spec, token)) : Seen(spec, Length + 1)));

    // what libtorch's operator executes: a causal one the keys before a query, one with a mask all pairs
    static double Attention(string name, int length) => Attentions(name).Sum(spec =>
        2.0 * (spec.QueryWidth + spec.OutputWidth) * Rows * (spec.Window is null ? length * (length + 1) / 2 : length * length));

    static int Seen(AttentionSpec spec, int token) => spec.Window is { } window ? Math.Min(token, window + spec.Sinks) : token;

    static IEnumerable<AttentionSpec> Attentions(string name)
    {
        foreach (var block in Designs[name].Blocks)
        {
            if (block.Mixer is AttentionSpec attention) yield return attention;
            if (block.Mixer is IntraHybridSpec intra) yield return intra.Attention;
            if (block.Shared is { } use) yield return Designs[name].SharedTransformers[use.Transformer].Attention;
        }
    }

    /// <summary>Records the passes of all designs in a separate process.</summary>
    public sealed class Traces : IDisposable
    {
        readonly string folder = Directory.CreateTempSubdirectory("hybrid-test-").FullName;
        readonly Lazy<string?> failure;

        public Traces() => failure = new(Run);

        public ExecutedProducts Get(string name, string pass)
        {
            Assert.SkipUnless(OperatingSystem.IsLinux(), "the encoded names of the functions that trace are those of Linux");
            Assert.True(failure.Value is null, failure.Value);
            return ExecutedProducts.Read(Path.Combine(folder, $"{name}.{pass}.json"));
        }

        string? Run()
        {
            foreach (var (name, design) in Designs) File.WriteAllText(Path.Combine(folder, $"{name}.json"), design.ToJson());
            var program = Path.GetFullPath(
                Path.Combine(AppContext.BaseDirectory, "../../../../ExecutedProducts/bin", new DirectoryInfo(AppContext.BaseDirectory).Parent!.Name,
                "net10.0", "ExecutedProducts.dll"));
            using var process = Process.Start(
                new ProcessStartInfo("dotnet", [program, folder, $"{Rows}", $"{Length}"]) { RedirectStandardError = true })!;
            string errors = process.StandardError.ReadToEnd();
            process.WaitForExit();
            return process.ExitCode == 0 ? null : errors;
        }

        public void Dispose() => Directory.Delete(folder, recursive: true);
    }
}
