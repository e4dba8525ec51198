using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;
using Tensors = System.Collections.Generic.Dictionary<string, TorchSharp.torch.Tensor>;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>Tests the CUDA kernels of an operator with a decay per key channel under emulation.</summary>
public abstract class ChannelDecayEmulationTests(DeltaRuleOperator op) : DeltaRuleEmulationTests(op)
{
    readonly DeltaRuleOperator op = op;

    // very strong decays next to none, in some channels and some tokens: no quotient of decays is finite
    [Theory]
    [InlineData(80), InlineData(90)]
    public void Channels_with_very_different_decays(int capability)
    {
        using var scope = NewDisposeScope();
        using var emulation = new CudaEmulation(capability: capability);
        var inputs = op.Sized(1, 130, 2, 16, 1, 24);
        var draws = rand(inputs["decay"].shape, ScalarType.Float64);
        inputs["decay"] = where(draws.lt(0.2), inputs["decay"] * 300, where(draws.lt(0.5), inputs["decay"] * 20, inputs["decay"] * 1e-3));
        IsAsGoodAsComposed(inputs);
    }

    // a decay that leaves nothing, in some tokens, must not cost precision in the tokens after it
    [Fact]
    public void Tokens_that_erase_the_state()
    {
        using var scope = NewDisposeScope();
        using var emulation = new CudaEmulation();
        var inputs = op.Sized(1, 128, 2, 16, 1, 16);
        var erased = rand([1, 128, 1, 1], ScalarType.Float64).lt(0.3);
        inputs["decay"] = where(erased, inputs["decay"].sub(1e6), inputs["decay"] * 0.1);
        IsAsGoodAsComposed(inputs);
    }

    [Fact]
    public void Decays_in_bfloat16_give_the_results_of_the_same_decays_in_float32()
    {
        using var scope = NewDisposeScope();
        using var emulation = new CudaEmulation();
        var inputs = op.Leaves(op.Sized(1, 70, 2, 16, 2, 16), ScalarType.BFloat16);
        var coarse = inputs["decay"].detach().to(ScalarType.BFloat16);
        var results = new[] { coarse, coarse.to(ScalarType.Float32) }.Select(decay =>
        {
            var leaf = decay.detach().requires_grad_();
            var (output, final) = op.Forward(new Tensors(inputs) { ["decay"] = leaf });
            Autograd.Backward(output.to(ScalarType.Float32).sum().add(final.sum(), Scalars.One));
            Assert.Equal(leaf.dtype, leaf.grad!.dtype);
            return (Output: output, Final: final, Gradient: leaf.grad!.to(ScalarType.BFloat16));
        }).ToArray();
        Assert.True(results[0].Output.Equals(results[1].Output) && results[0].Final.Equals(results[1].Final));
        Assert.True(results[0].Gradient.Equals(results[1].Gradient));
    }
}
