using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests;

/// <summary>
/// Compares the operators of a delta net after its convolution, whose kernels write gradients into slices, with the same kernels and gradients that
/// are joined by a copy.
/// </summary>
/// <param name="Heads">The number of heads of values.</param>
/// <param name="Groups">The number of heads of queries and keys.</param>
/// <param name="KeySize">The elements of a key.</param>
/// <param name="ValueSize">The elements of a value.</param>
/// <param name="DecaysChannels">Whether each key channel has a separate decay.</param>
sealed record SlicedDelta(long Heads, long Groups, long KeySize, long ValueSize, bool DecaysChannels = false)
{
    long Keys => Groups * KeySize;

    long Values => Heads * ValueSize;

    /// <summary>Compares all gradients to the bit, and checks that the gradients of queries, keys and values are one tensor.</summary>
    public void EqualsGradientsJoinedByCopy(long batch, long length, Device device, SequenceLayout? layout = null)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(3);
        Tensor[] values =
        [
            randn(batch, length, (2 * Keys) + Values), rand(DecaysChannels ? [batch, length, Heads, KeySize] : [batch, length, Heads]).neg(),
            rand(batch, length, Heads), full(Keys, 0.5f),
        ];
        var leaves = values.Select((value, i) => value.to(i == 0 ? ScalarType.BFloat16 : ScalarType.Float32).to(device).requires_grad_()).ToArray();
        var direction = randn(batch, length, Heads, ValueSize).to(ScalarType.BFloat16).to(device);
        var (expected, separate) = Differentiate(leaves, direction, false, layout);
        var (actual, joined) = Differentiate(leaves, direction, true, layout);
        for (int i = 0; i < expected.Length; i++) Assert.True(expected[i].equal(actual[i]).all().item<bool>(), $"gradient {i} differs");
        // one tensor in the place of three
        Assert.Equal(2, separate.Count - joined.Count);
        Assert.Contains(leaves[0].shape, joined);
    }

    // the gradients, and the shapes of what was allocated for them
    (Tensor[] Gradients, List<long[]> Shapes) Differentiate(Tensor[] leaves, Tensor direction, bool hasPlaces, SequenceLayout? layout)
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
        var output = Forward(leaves, hasPlaces, layout);
        shapes.Clear();
        Autograd.Backward(output, direction);
        var gradients = Array.ConvertAll(leaves, leaf => leaf.grad!.clone().MoveToOuterDisposeScope());
        foreach (var leaf in leaves) leaf.grad = null;
        return (gradients, shapes);
    }

    Tensor Forward(Tensor[] leaves, bool hasPlaces, SequenceLayout? layout)
    {
        var convolved = leaves[0].mul(Scalars.One);
        long batch = convolved.size(0), length = convolved.size(1);
        var slices = TensorSlice.Split(convolved, hasPlaces, Keys, Keys, Values);
        Tensor Unit(TensorSlice slice, Tensor? weight) =>
            RmsNorm.Compute(new(slice.Tensor, null, weight, 1e-6, (int)Groups, NormFirst: false) { XGradient = slice.Gradient })
                .view(batch, length, Groups, KeySize);
        // keys of length 1: the norm of a head is the root of its size
        var keys = Unit(slices[1], null).mul(Scalars.From(1 / Math.Sqrt(KeySize)));
        var inputs = new DeltaRuleInputs(Unit(slices[0], leaves[3]), keys, slices[2].Tensor.view(batch, length, Heads, ValueSize), leaves[1],
            leaves[2])
        {
            Layout = layout, DecaysChannels = DecaysChannels, ValueGradient = slices[2].Gradient,
        };
        return (DecaysChannels ? ChannelDeltaRule.Compute(inputs) : GatedDeltaRule.Compute(inputs)).Output;
    }
}
