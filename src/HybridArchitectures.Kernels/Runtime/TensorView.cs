using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>Describes a view of a contiguous tensor.</summary>
/// <param name="Shape">The sizes.</param>
/// <param name="Strides">The strides in elements.</param>
/// <param name="Offset">The first element, counted from that of the tensor.</param>
sealed record TensorView(long[] Shape, long[] Strides, long Offset)
{
    /// <summary>Returns whether the view reads only the first <paramref name="elements"/> elements.</summary>
    public bool IsWithin(long elements)
    {
        long last = Offset;
        for (int i = 0; i < Shape.Length; i++) last += (Shape[i] - 1) * Strides[i];
        return Offset >= 0 && last < elements;
    }

    /// <summary>Returns this view of another contiguous tensor.</summary>
    public Tensor Of(Tensor tensor) => tensor.as_strided(Shape, Strides, tensor.storage_offset() + Offset);
}
