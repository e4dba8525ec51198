using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>The kernels on a card, against the references in float64 in main memory. Skipped where there is none.</summary>
[Trait("device", "cuda")]
public class CudaDeviceTests
{
    static void NeedsCuda() => Assert.SkipUnless(cuda.is_available(), "no CUDA device: the kernels were not run on a card");

    static void Matches(OperatorCheck.Operator op, OperatorCheck.Operator reference, params Tensor?[] inputs)
    {
        using var scope = NewDisposeScope();
        var expected = OperatorCheck.Run(reference, inputs.Select(input => input?.to(ScalarType.Float32)).ToArray(), ScalarType.Float64);
        var first = OnCard(op, inputs);
        var second = OnCard(op, inputs);
        for (int i = 0; i < expected.Length; i++)
        {
            OperatorCheck.Close(expected[i], first[i], 2e-5, $"result {i}");
            Assert.True(first[i].equal(second[i]).all().item<bool>(), $"result {i} differs from run to run");
        }
    }

    static Tensor[] OnCard(OperatorCheck.Operator op, Tensor?[] inputs)
    {
        var leaves = inputs.Select(input => input?.to(ScalarType.Float32).to(CUDA).detach().requires_grad_()).ToArray();
        var output = op(leaves);
        using var generator = new Generator(5);         // the direction that OperatorCheck takes
        var direction = randn(output.shape, ScalarType.Float64, generator: generator).to(ScalarType.Float32).to(CUDA);
        Autograd.Backward((output * direction).sum());
        return [output.detach().cpu(), .. leaves.Where(leaf => leaf is not null).Select(leaf => leaf!.grad!.cpu())];
    }

    static Tensor Joined((Tensor Output, Tensor Final) results) => cat([results.Output.to(results.Final.dtype).flatten(), results.Final.flatten()]);

    [Theory]
    [InlineData(1000, 2048, 1)]
    [InlineData(4099, 123, 1)]
    [InlineData(300, 4096, 64)]
    [InlineData(3, 32768, 1)]
    public void Norms(int rows, int width, int groups)
    {
        NeedsCuda();
        using var scope = NewDisposeScope();
        using var random = manual_seed(1);
        Matches(i => RmsNorm.Forward(i[0]!, i[1], 1e-5, groups), i => RmsNormReference.Forward(i[0]!, i[1], 1e-5, groups), OperatorCheck.Normal(rows, width), OperatorCheck.Normal(width));
        foreach (bool first in new[] { false, true })
            Matches(i => GatedRmsNorm.Forward(i[0]!, i[1]!, i[2], 1e-5, groups, first), i => GatedRmsNormReference.Forward(i[0]!, i[1]!, i[2], 1e-5, groups, first),
                OperatorCheck.Normal(rows, width), OperatorCheck.Normal(rows, width), OperatorCheck.Normal(width));
    }

    [Fact]
    public void SwiGlu_and_rotary()
    {
        NeedsCuda();
        using var scope = NewDisposeScope();
        using var random = manual_seed(2);
        foreach (int width in new[] { 1, 1000, 8192 })
            Matches(i => SwiGlu.Forward(i[0]!, i[1]!), i => SwiGluReference.Forward(i[0]!, i[1]!), OperatorCheck.Normal(70, width), OperatorCheck.Normal(70, width));
        var (cosine, sine) = (rand(1, 33, 32), rand(1, 33, 32));
        Matches(i => Rotary.Forward(i[0]!, cosine.to(CUDA), sine.to(CUDA)),
            i => RotaryReference.Forward(i[0]!, cosine, sine), OperatorCheck.Normal(2, 33, 5, 64));
    }

    [Theory]
    [InlineData(1), InlineData(64), InlineData(65), InlineData(257), InlineData(1000)]
    public void Convolution_and_scans_at_any_length(int length)
    {
        NeedsCuda();
        using var scope = NewDisposeScope();
        using var random = manual_seed(3);
        foreach (int channels in new[] { 37, 64 })
        {
            Matches(i => Joined(CausalConvolution.Forward(i[0]!, i[1]!, i[2], true, i[3])), i => Joined(CausalConvolutionReference.Forward(i[0]!, i[1]!, i[2], true, i[3], null)),
                OperatorCheck.Normal(2, length, channels), OperatorCheck.Normal(channels, 4), OperatorCheck.Normal(channels), OperatorCheck.Normal(2, 3, channels));
            foreach (int states in new[] { 16, 64, 256 })
                Matches(i => Joined(SelectiveScan.Forward(i[0]!, i[1]!, i[2]!, i[3]!, i[4]!, i[5], i[6], i[7], true, i[8])),
                    i => Joined(SelectiveScanReference.Forward(i[0]!, i[1]!, i[2]!, i[3]!, i[4]!, i[5], i[6], i[7], true, i[8], null)),
                    OperatorCheck.Normal(2, length, channels), OperatorCheck.Normal(2, length, channels) - 1.0, -rand([channels, states], ScalarType.Float64) - 0.01,
                    OperatorCheck.Normal(2, length, 1, states), OperatorCheck.Normal(2, length, 1, states), OperatorCheck.Normal(channels), OperatorCheck.Normal(2, length, channels),
                    OperatorCheck.Normal(channels), OperatorCheck.Normal(2, channels, states));
        }
        Matches(i => Joined(StateSpaceDual.Forward(i[0]!, i[1]!, i[2]!, i[3]!, i[4]!, i[5], i[6], true)),
            i => Joined(StateSpaceDualReference.Forward(i[0]!, i[1]!, i[2]!, i[3]!, i[4]!, i[5], i[6], true, null, null, null)),
            OperatorCheck.Normal(2, length, 4, 16), OperatorCheck.Normal(2, length, 4) - 1.0, -rand([4], ScalarType.Float64) - 0.01,
            OperatorCheck.Normal(2, length, 2, 32), OperatorCheck.Normal(2, length, 2, 32), OperatorCheck.Normal(4), OperatorCheck.Normal(4));
    }

    [Fact]
    public void Documents_and_pads()
    {
        NeedsCuda();
        using var scope = NewDisposeScope();
        using var random = manual_seed(4);
        IReadOnlyList<IReadOnlyList<long>> documents = [[1, 63, 1, 0, 64, 40], [200], [], [130, 1, 1, 1, 60], [0, 3]];
        using SequenceLayout here = SequenceLayout.Packed(documents, 200), there = SequenceLayout.Packed(documents, 200, CUDA);
        Matches(i => Joined(CausalConvolution.Forward(i[0]!, i[1]!, i[2], true, i[3], there)), i => Joined(CausalConvolutionReference.Forward(i[0]!, i[1]!, i[2], true, i[3], here)),
            OperatorCheck.Normal(5, 200, 40), OperatorCheck.Normal(40, 4), OperatorCheck.Normal(40), OperatorCheck.Normal(5, 3, 40));
        Matches(i => Joined(SelectiveScan.Forward(i[0]!, i[1]!, i[2]!, i[3]!, i[4]!, softplus: true, initialState: i[5], layout: there)),
            i => Joined(SelectiveScanReference.Forward(i[0]!, i[1]!, i[2]!, i[3]!, i[4]!, null, null, null, true, i[5], here)),
            OperatorCheck.Normal(5, 200, 40), OperatorCheck.Normal(5, 200, 40) - 1.0, -rand([40, 16], ScalarType.Float64) - 0.01, OperatorCheck.Normal(5, 200, 1, 16),
            OperatorCheck.Normal(5, 200, 1, 16), OperatorCheck.Normal(5, 40, 16));
    }

    [Fact]
    public void A_thread_that_has_no_context_yet_is_served()
    {
        NeedsCuda();
        using var scope = NewDisposeScope();
        using var random = manual_seed(5);
        var x = randn(64, 128).to(CUDA);
        var expected = RmsNormReference.Forward(x, null).cpu();
        Tensor? result = null;
        var thread = new Thread(() => result = RmsNorm.Forward(x, null).cpu().DetachFromDisposeScope());
        thread.Start();
        thread.Join();
        OperatorCheck.Close(expected, result!, 1e-5, "the output");
        result!.Dispose();
    }
}
