using HybridArchitectures.Kernels.Operators;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>
/// Divides tensors along their last dimension. All parts are views. Their gradients are joined to that of the tensor in one pass, while the gradient
/// of each <c>narrow</c> is a tensor as large as the whole.
/// </summary>
static class LastDimension
{
    /// <summary>
    /// Returns a part of one token per row, (batch, 1, channels), divided into heads: (batch, heads, size), as one view. The channels have no gaps.
    /// </summary>
    /// <param name="x">The tensor.</param>
    /// <param name="first">The first channel.</param>
    /// <param name="heads">The number of heads.</param>
    /// <param name="size">The channels of a head.</param>
    public static Tensor Heads(Tensor x, long first, long heads, long size) =>
        x.as_strided([x.size(0), heads, size], [x.stride(0), size, 1], x.storage_offset() + first);

    /// <summary>Returns two parts. The sum of their sizes is the size of the last dimension.</summary>
    public static (Tensor First, Tensor Second) Split(Tensor x, long first, long second)
    {
        var parts = x.split([first, second], -1);
        return (parts[0], parts[1]);
    }

    /// <summary>Returns three slices, with places for their gradients if wanted.</summary>
    /// <inheritdoc cref="TensorSlice.Split"/>
    public static (TensorSlice First, TensorSlice Second, TensorSlice Third) Slices(Tensor x, bool hasPlaces, long first, long second, long third)
    {
        var slices = TensorSlice.Split(x, hasPlaces, first, second, third);
        return (slices[0], slices[1], slices[2]);
    }

    /// <summary>Returns three parts. The sum of their sizes is the size of the last dimension.</summary>
    public static (Tensor First, Tensor Second, Tensor Third) Split(Tensor x, long first, long second, long third)
    {
        var parts = x.split([first, second, third], -1);
        return (parts[0], parts[1], parts[2]);
    }
}
