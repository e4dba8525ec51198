using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;
using Tensors = System.Collections.Generic.Dictionary<string, TorchSharp.torch.Tensor>;

namespace HybridArchitectures.Kernels.Tests;

public sealed class CausalConvolutionOperator : SequenceOperator
{
    // channels, width; the second wide enough to be cut along channels
    static readonly (long C, long W)[] Sizes = [(12, 4), (1030, 4), (5, 2), (8, 3), (1, 4), (17, 7), (16, 1)];

    public override int Variants => Sizes.Length;

    public override IReadOnlyList<string> Timed => ["x"];

    public override IReadOnlyList<string> Activations => ["x", "initialState"];

    public override IReadOnlyList<string> Optional => ["bias", "initialState"];

    public override KernelBackend BackendFor(Tensor x) => CausalConvolution.BackendFor(x);

    public override Tensors Inputs(long batch, long length, int variant = 0) => Inputs(batch, length, Sizes[variant].C, Sizes[variant].W);

    public static Tensors Inputs(long batch, long length, long c, long w)
    {
        manual_seed(7 + Draw);
        return new()
        {
            ["x"] = randn([batch, length, c], ScalarType.Float64),
            ["weight"] = randn([c, w], ScalarType.Float64),
            ["bias"] = randn([c], ScalarType.Float64),
            ["initialState"] = randn([batch, w - 1, c], ScalarType.Float64),
        };
    }

    public override (Tensor Output, Tensor Final) Forward(Tensors i, SequenceLayout? layout = null) =>
        CausalConvolution.Forward(i["x"], i["weight"], i.GetValueOrDefault("bias"), true, i.GetValueOrDefault("initialState"), layout);

    public override (Tensor Output, Tensor Final) Composed(Tensors i, SequenceLayout? layout = null) =>
        CausalConvolutionReference.Forward(new(i["x"], i["weight"], i.GetValueOrDefault("bias"))
        {
            Silu = true, InitialState = i.GetValueOrDefault("initialState"), Layout = layout,
        });

    public override Tensor Step(Tensor state, Tensors i) => CausalConvolution.Step(state, i["x"], i["weight"], i.GetValueOrDefault("bias"), true);
}
