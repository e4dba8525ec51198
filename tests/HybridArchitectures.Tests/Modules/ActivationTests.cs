using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Models;
using HybridArchitectures.Modules;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Modules;

/// <summary>Compares mixers with nonlinearities other than SiLU with compositions of operators.</summary>
public sealed class ActivationTests : IDisposable
{
    const int Width = 12, Length = 7;

    readonly TorchSharp.DisposeScope scope = NewDisposeScope();

    public ActivationTests() => manual_seed(1);

    public void Dispose() => scope.Dispose();

    static (HybridStack Stack, Func<string, Tensor> Weight) Of(MixerSpec mixer)
    {
        var design = new HybridDesign { Width = Width, VocabularySize = 3,
            Blocks = [new() { Mixer = mixer, FeedForward = FeedForwardSpec.None }] }.Resolve();
        var stack = design.CreateStack(seed: 2);
        using var noGrad = no_grad();
        foreach (var (_, parameter, _) in stack.AllParameters()) parameter.add_(randn_like(parameter) * 0.2);
        var state = stack.AllState().ToDictionary(item => item.Name, item => item.Value);
        return (stack, name => state["blocks.0.mixer." + name]);
    }

    static Tensor Convolved(Tensor x, Func<string, Tensor> weight) =>
        CausalConvolution.Forward(x, weight("conv_weight"), weight("conv_bias"), silu: false).Output;

    static void Same(Tensor expected, Tensor actual) =>
        Assert.True((expected - actual).abs().max().item<float>() < 2e-6, $"{(expected - actual).abs().max().item<float>()}");

    // one pass, and token by token through a state
    static void Check(Mixer mixer, Tensor x, Tensor expected)
    {
        using var noGrad = no_grad();
        using var context = new SequenceContext();
        context.Begin(1, Length, CPU);
        Same(expected, mixer.Forward(x, context, null));
        using var state = mixer.CreateState(1, ScalarType.Float32, CPU);
        for (int token = 0; token < Length; token++)
        {
            using var step = new SequenceContext();
            step.Begin(1, 1, CPU);
            Same(expected.narrow(1, token, 1), mixer.Forward(x.narrow(1, token, 1), step, state));
        }
    }

    [Fact]
    public void Mamba_has_it_after_the_convolution_and_on_the_gate()
    {
        var spec = new Mamba1Spec { StateSize = 3, InnerWidth = 20, TimeStepRank = 2, Activation = Activation.Relu };
        var (stack, weight) = Of(spec);
        using var own = stack;
        using var noGrad = no_grad();
        var x = randn(1, Length, Width);
        var projected = nn.functional.linear(x, weight("input.weight"));
        var values = Convolved(projected.narrow(-1, 0, 20).contiguous(), weight).relu();
        var selected = nn.functional.linear(values, weight("selection.weight"));
        var (y, _) = SelectiveScan.Forward(
            values, nn.functional.linear(selected.narrow(-1, 0, 2), weight("dt_weight")), weight("A_log").exp().neg(), selected.narrow(-1, 2, 3),
            selected.narrow(-1, 5, 3),
            weight("D"), null, weight("dt_bias"), softplus: true);
        Check(stack.Blocks[0].Mixer!, x, nn.functional.linear(y * projected.narrow(-1, 20, 20).relu(), weight("output.weight")));
    }

    [Fact]
    public void Mamba2_has_it_after_the_convolution_alone()
    {
        var spec = new Mamba2Spec { Heads = 4, HeadSize = 5, StateSize = 3, ChunkSize = 16, GatedNorm = false, Activation = Activation.GeluTanh };
        var (stack, weight) = Of(spec);
        using var own = stack;
        using var noGrad = no_grad();
        var x = randn(1, Length, Width);
        var projected = nn.functional.linear(x, weight("input.weight"));        // gate 20, x 20, B 3, C 3, time steps 4
        var convolved = Activations.Apply(Activation.GeluTanh, Convolved(projected.narrow(-1, 20, 26).contiguous(), weight));
        var (y, _) = StateSpaceDual.Forward(
            convolved.narrow(-1, 0, 20).view(1, Length, 4, 5), projected.narrow(-1, 46, 4), weight("A_log").exp().neg(),
            convolved.narrow(-1, 20, 3).view(1, Length, 1, 3),
            convolved.narrow(-1, 23, 3).view(1, Length, 1, 3), weight("D"), weight("dt_bias"), softplus: true, chunkSize: 16);
        Check(stack.Blocks[0].Mixer!, x,
            nn.functional.linear(y.reshape(1, Length, 20) * nn.functional.silu(projected.narrow(-1, 0, 20)), weight("output.weight")));
    }
}
