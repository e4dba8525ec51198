using HybridArchitectures.Conformance;
using HybridArchitectures.Tests.Models;
using HybridArchitectures.Verification;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Checkpoints;

/// <summary>Tests the cases of <see cref="ConformanceTests"/> on a GPU, within the same tolerances.</summary>
[Trait("device", "cuda")]
public class ConformanceDeviceTests
{
    static readonly string Root = Path.Combine(AppContext.BaseDirectory, "Cases");

    public static TheoryData<string> Cases => ConformanceTests.Cases;

    static void NeedsAGpu()
    {
        Assert.SkipUnless(cuda.is_available(), "no CUDA device: the cases were not run on a GPU");
        backends.cuda.matmul.allow_tf32 = false;
    }

    [Theory, MemberData(nameof(Cases))]
    public void A_case_has_the_recorded_outputs_on_a_GPU(string name)
    {
        NeedsAGpu();
        Assert.All(ConformanceRunner.Run(Path.Combine(Root, name), CUDA), result => Assert.True(result.Passes, $"{result} {result.Message}"));
    }

    [Theory, MemberData(nameof(TinyDesigns.Names), MemberType = typeof(TinyDesigns))]
    public void Designs_of_every_kind_keep_every_promise_on_a_GPU(string name)
    {
        NeedsAGpu();
        var report = DesignVerifier.Verify(TinyDesigns.Get(name), new() { Device = CUDA });
        Assert.True(report.Passed, report.ToString());
    }
}
