using HybridArchitectures.Design;
using HybridArchitectures.Models;
using HybridArchitectures.Tests.Models;
using HybridArchitectures.Verification;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Verification;

public class DesignVerifierTests
{
    [Theory, MemberData(nameof(TinyDesigns.Names), MemberType = typeof(TinyDesigns))]
    public void Designs_of_every_kind_keep_every_promise(string name)
    {
        var report = DesignVerifier.Verify(TinyDesigns.Get(name));
        Assert.True(report.Passed, report.ToString());
        Assert.Equal(Enum.GetValues<Invariance>(), report.Results.Select(result => result.Invariance));
        Assert.All(report.Results, result => Assert.Equal(TinyDesigns.Get(name).Depth + 1, result.Errors.Count));
    }

    // block 1 is attention, block 2 sound, block 3 broken, block 4 Mamba-2, which only passes on what it gets
    static HybridDesign With(Fault fault)
    {
        BlockSpec Block(MixerSpec mixer) => new() { Mixer = mixer, FeedForward = FeedForwardSpec.SwiGlu(20) };
        return new HybridDesign
        {
            Width = 16, VocabularySize = 19,
            Blocks = [Block(new AttentionSpec { Heads = 2, Rotary = new RotarySpec() }), Block(new BrokenSpec(Fault.None)),
            Block(new BrokenSpec(fault)), Block(new Mamba2Spec { Heads = 2, HeadSize = 8, StateSize = 4, ChunkSize = 16 })],
        }.Resolve();
    }

    [Theory]
    [InlineData(Fault.SeesTheNextToken, Invariance.Causality, Invariance.BatchOrder)]
    [InlineData(Fault.CountsPads, Invariance.Padding, Invariance.Causality, Invariance.BatchOrder, Invariance.Packing, Invariance.ChunkedPrefill,
        Invariance.SingleSteps, Invariance.CacheRows, Invariance.CacheReturn)]
    [InlineData(Fault.ForgetsItsState, Invariance.ChunkedPrefill, Invariance.Causality, Invariance.BatchOrder, Invariance.Packing)]
    [InlineData(Fault.StepsDifferently, Invariance.SingleSteps, Invariance.Causality, Invariance.BatchOrder)]
    [InlineData(Fault.LeaksOverDocuments, Invariance.Packing, Invariance.Causality, Invariance.BatchOrder, Invariance.Padding,
        Invariance.ChunkedPrefill, Invariance.SingleSteps, Invariance.RaggedBatch, Invariance.CacheRows, Invariance.CacheReturn)]
    [InlineData(Fault.MixesRows, Invariance.BatchOrder, Invariance.Causality, Invariance.Padding, Invariance.Packing, Invariance.ChunkedPrefill,
        Invariance.SingleSteps)]
    [InlineData(Fault.MovesRows, Invariance.CacheRows, Invariance.Causality, Invariance.BatchOrder, Invariance.Padding, Invariance.Packing,
        Invariance.ChunkedPrefill, Invariance.SingleSteps, Invariance.RaggedBatch, Invariance.CacheReturn)]
    [InlineData(Fault.KeepsMoreThanItsTensors, Invariance.CacheReturn, Invariance.Causality, Invariance.BatchOrder, Invariance.Packing)]
    [InlineData(Fault.GivesNaN, Invariance.SingleSteps, Invariance.BatchOrder)]
    [InlineData(Fault.CountsItsCacheWrongly, Invariance.CacheBytes, Invariance.Causality, Invariance.BatchOrder, Invariance.Padding,
        Invariance.Packing, Invariance.ChunkedPrefill, Invariance.SingleSteps, Invariance.RaggedBatch, Invariance.CacheRows, Invariance.CacheReturn)]
    public void A_fault_is_caught_in_its_layer_by_the_check_of_its_name(Fault fault, Invariance caught, params Invariance[] untouched)
    {
        var report = DesignVerifier.Verify(With(fault));
        Assert.False(report[caught].Passed, report.ToString());
        Assert.Equal(3, report[caught].Block);
        Assert.Equal("block 3 (BrokenMixer, SwiGluFeedForward)", report[caught].Layer);
        Assert.True(report[caught].Errors[1] <= report[caught].Tolerance);
        Assert.True(report[caught].Errors[2] > report[caught].Tolerance);
        Assert.NotNull(report[caught].Detail);
        foreach (var check in untouched) Assert.True(report[check].Passed, report.ToString());
        Assert.All(report.Failures, failure => Assert.Equal(3, failure.Block));
        Assert.Contains($"{caught,-16}", report.ToString());
        Assert.Contains("FAIL  block 3 (BrokenMixer", report.ToString());
    }

    [Fact]
    public void A_cache_that_is_counted_wrongly_is_reported_with_both_numbers()
    {
        var result = DesignVerifier.Verify(With(Fault.CountsItsCacheWrongly))[Invariance.CacheBytes];
        // three rows of two tokens: a float32 sum of 16 channels each, for which 8 bytes too many are counted
        Assert.Equal("3 rows of 1 tokens and a step: 216 bytes are counted and 192 are held", result.Detail);
        Assert.Equal(0, result.Tolerance);
    }

    [Fact]
    public void A_sound_mixer_of_a_user_passes() =>
        Assert.True(DesignVerifier.Verify(With(Fault.None)) is { Passed: true } report, "a sound mixer failed");

    [Fact]
    public void A_layer_that_fails_is_named_with_its_message()
    {
        var report = DesignVerifier.Verify(With(Fault.Throws));
        var failure = Assert.Single(report.Failures);
        Assert.Equal((Invariance.Packing, 3), (failure.Invariance, failure.Block!.Value));
        Assert.Contains("NotSupportedException: no packed rows here", failure.Detail);
        Assert.Equal(double.PositiveInfinity, failure.MaxError);
        // one line a check, after the two of the head; the frames that native code appends are left out
        Assert.Equal(2 + report.Results.Count, report.ToString().TrimEnd().Split('\n').Length);
        Assert.DoesNotContain("frame #0", report.ToString());
    }

    [Fact]
    public void A_model_is_left_as_it_was()
    {
        using var model = TinyDesigns.Model("inter");
        int calls = 0;
        model.Stack.Observer = (_, _) => calls++;
        model.train();
        var before = model.State.ToDictionary(item => item.Key, item => item.Value.clone());
        Assert.True(DesignVerifier.Verify(model).Passed);
        Assert.True(model.training);
        Assert.All(before, item => Assert.True(item.Value.equal(model.State[item.Key]).all().item<bool>()));
        int during = calls;
        using (var ids = zeros([1, 2], ScalarType.Int64)) model.Forward(ids).Dispose();
        Assert.Equal(during + 6, calls);
        foreach (var value in before.Values) value.Dispose();
    }

    [Fact]
    public void Other_types_of_activations_have_separate_tolerances()
    {
        var report = DesignVerifier.Verify(TinyDesigns.Get("inter"), new() { Compute = ScalarType.BFloat16 });
        Assert.True(report.Passed, report.ToString());
        Assert.Equal(0.06, report.Results[0].Tolerance);
    }

    // an everyday run takes every third design
    public static TheoryData<string> ForFloat64 =>
        [.. TinyDesigns.All.Select(design => design.Name!).Where((_, i) => Effort.IsFull || i % 3 == 0)];

    [Theory, MemberData(nameof(ForFloat64))]
    public void Designs_of_every_kind_keep_them_in_float64_more_closely(string name)
    {
        var report = DesignVerifier.Verify(TinyDesigns.Get(name), new() { Compute = ScalarType.Float64, Length = 12 });
        Assert.True(report.Passed, report.ToString());
        Assert.Equal(1e-6, report.Results[0].Tolerance);
    }

    [Fact]
    public void Options_out_of_range_are_refused()
    {
        var design = TinyDesigns.Get("mamba1");
        Assert.Throws<ArgumentException>("options", () => DesignVerifier.Verify(design, new() { Length = 11 }));
        Assert.Throws<ArgumentException>("options", () => DesignVerifier.Verify(design, new() { Tolerance = 0 }));
    }

    [Fact]
    public void Verification_leaves_no_tensor_behind()
    {
        using var model = TinyDesigns.Model("inter");
        DesignVerifier.Verify(model);
        long before = LiveTensors.Settled();
        DesignVerifier.Verify(model);
        LiveTensors.AssertAtMost(before);
    }
}
