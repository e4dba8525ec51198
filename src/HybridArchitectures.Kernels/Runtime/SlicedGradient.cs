using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>
/// Represents the gradient of a tensor that is divided into slices of its last dimension. Operators write the gradients of slices directly to their
/// places in it.
/// <para>
/// 1. In a backward pass, an operator takes the place of its slice (<see cref="Take"/>). The first one allocates the whole gradient.
/// 2. Each place is taken once. Without a place, or with gradients of another form, an operator returns a tensor as usual.
/// 3. At the end, <see cref="Join"/> copies the gradients that are elsewhere to their places.
/// </para>
/// </summary>
/// <param name="like">The tensor, contiguous.</param>
/// <param name="sizes">The sizes of the slices. Their sum is the size of the last dimension.</param>
sealed class SlicedGradient(Tensor like, long[] sizes)
{
    const int Alignment = 16;       // bytes of the accesses of kernels

    readonly (long[] Shape, ScalarType Type) form = (like.shape, like.dtype);
    readonly bool isAligned = Array.TrueForAll(sizes, size => size * like.ElementSize % Alignment == 0);
    readonly bool[] taken = new bool[sizes.Length];
    Tensor? whole;

    /// <summary>Returns the place of a slice with undefined contents; null if it is taken or does not fit.</summary>
    /// <param name="index">The number of the slice.</param>
    /// <param name="input">The slice, or a view of it in the same order of elements.</param>
    /// <param name="allocate">Allocates the whole gradient on the device of a tensor.</param>
    public Tensor? Take(int index, Tensor input, Func<Tensor, ScalarType, long[], Tensor> allocate)
    {
        if (!isAligned || input.dtype != form.Type || input.NumberOfElements == 0) return null;
        if (taken[index] || input.NumberOfElements * form.Shape[^1] != Count * sizes[index]) return null;
        whole ??= allocate(input, form.Type, form.Shape).DetachFromDisposeScope();
        taken[index] = true;
        return Place(whole, index).view(input.shape);
    }

    /// <summary>Returns the whole gradient from those of the slices. Null means zero.</summary>
    public Tensor Join(IReadOnlyList<Tensor?> gradients)
    {
        if (whole is null) return cat([.. gradients.Select((gradient, index) => gradient ?? Zeros(gradients, index))], -1);
        using var own = whole;
        whole = null;
        Array.Clear(taken);
        for (int index = 0; index < sizes.Length; index++)
        {
            var place = Place(own, index);
            if (gradients[index] is not { } gradient) place.zero_();
            else if (!IsSame(place, gradient)) place.copy_(gradient);
        }
        return own.alias();
    }

    long Count => form.Shape.Aggregate(1L, (product, size) => product * size);

    Tensor Place(Tensor of, int index) => of.narrow(-1, sizes.Take(index).Sum(), sizes[index]);

    Tensor Zeros(IReadOnlyList<Tensor?> gradients, int index) =>
        zeros([.. form.Shape[..^1], sizes[index]], form.Type, gradients.First(gradient => gradient is not null)!.device);

    static bool IsSame(Tensor place, Tensor gradient) => place.dtype == gradient.dtype
        && TensorMemory.Pointer(place) == TensorMemory.Pointer(gradient)
        && Enumerable.Range(0, (int)place.dim()).All(i => place.size(i) == 1 || place.stride(i) == gradient.stride(i));
}
