using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests;

/// <summary>
/// Compares the operators of a Mamba-2 layer whose kernels write gradients into slices with the same kernels and gradients that are joined by a copy.
/// </summary>
/// <param name="Heads">The number of heads.</param>
/// <param name="HeadSize">The channels of a head.</param>
/// <param name="Groups">The number of groups of heads.</param>
/// <param name="States">The size of a state.</param>
/// <param name="Taps">The taps of the filter of the convolution.</param>
sealed record SlicedMixer(long Heads, long HeadSize, long Groups, long States, long Taps = 4)
{
    long Inner => Heads * HeadSize;

    long Convolved => Inner + 2 * Groups * States;

    /// <summary>Compares all gradients to the bit, and counts the gradients that were allocated.</summary>
    /// <param name="isSplit">Whether several blocks share the heads of a chunk, so that gradients of B and C are sums.</param>
    public void EqualsGradientsJoinedByCopy(
        long batch, long length, ScalarType type, Device device, bool isSplit, bool normFirst = false, SequenceLayout? layout = null)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(3);
        Tensor[] values =
        [
            randn(batch, length, Inner + Convolved + Heads), randn(Convolved, Taps), randn(Convolved), rand(Heads).neg(), randn(Heads), randn(Heads),
            randn(Inner),
        ];
        var leaves = Array.ConvertAll(values, value => value.to(value.dim() == 3 ? type : ScalarType.Float32).to(device).requires_grad_());
        var direction = randn(batch, length, Inner).to(type).to(device);
        var (expected, separate) = Differentiate(leaves, direction, false, normFirst, layout);
        var (actual, joined) = Differentiate(leaves, direction, true, normFirst, layout);
        for (int i = 0; i < expected.Length; i++) Assert.True(expected[i].equal(actual[i]).all().item<bool>(), $"gradient {i} differs");
        // of gate, convolution, x and time steps, and of B and C if one block writes them
        Assert.Equal((isSplit ? 4 : 6) - 2, separate.Count - joined.Count);
        Assert.Contains([batch, length, Inner + Convolved + Heads], joined);
    }

    // the gradients, and the shapes of what was allocated for them
    (Tensor[] Gradients, List<long[]> Shapes) Differentiate(
        Tensor[] leaves, Tensor direction, bool hasPlaces, bool normFirst, SequenceLayout? layout)
    {
        using var scope = NewDisposeScope();
        var shapes = new List<long[]>();
        var given = OperatorOptions.Current.Allocator ?? ((sizes, type, device) => empty(sizes, type, device));
        using var options = OperatorOptions.Use(OperatorOptions.Current with
        {
            Allocator = (sizes, type, device) =>
            {
                shapes.Add(sizes);
                return given(sizes, type, device);
            },
        });
        var output = Forward(leaves, hasPlaces, normFirst, layout);
        shapes.Clear();
        Autograd.Backward(output, direction);
        var gradients = Array.ConvertAll(leaves, leaf => leaf.grad!.clone().MoveToOuterDisposeScope());
        foreach (var leaf in leaves) leaf.grad = null;
        return (gradients, shapes);
    }

    Tensor Forward(Tensor[] leaves, bool hasPlaces, bool normFirst, SequenceLayout? layout)
    {
        var projected = leaves[0].mul(Scalars.One);
        long batch = projected.size(0), length = projected.size(1), shared = Groups * States;
        var parts = TensorSlice.Split(projected, hasPlaces, Inner, Convolved, Heads);
        var (gate, given, step) = (parts[0], parts[1], parts[2]);
        var (convolved, _) = CausalConvolution.Compute(new(given.Tensor, leaves[1], leaves[2])
        {
            Silu = true, Layout = layout, XGradient = given.Gradient,
        });
        var inputs = TensorSlice.Split(convolved, hasPlaces, Inner, shared, shared);
        using var offer = CausalConvolution.Offer(convolved, given.Tensor, leaves[1], leaves[2], true, layout);
        Tensor View(int part, long heads, long size) => inputs[part].Tensor.view(batch, length, heads, size);
        var (y, _) = StateSpaceDual.Compute(new(View(0, Heads, HeadSize), step.Tensor, leaves[3], View(1, Groups, States), View(2, Groups, States))
        {
            D = leaves[4], DtBias = leaves[5], Softplus = true, Layout = layout,
            Places = new(inputs[0].Gradient, step.Gradient, inputs[1].Gradient, inputs[2].Gradient),
        });
        var normed = new GatedNormProduct(new(y.reshape(batch, length, Inner), gate.Tensor, leaves[6], 1e-5, normFirst ? (int)Heads : 1, normFirst)
        {
            GateGradient = gate.Gradient,
        });
        return RecomputedLinear.Forward(normed, eye(Inner, Inner, leaves[0].dtype, leaves[0].device), null);
    }
}
