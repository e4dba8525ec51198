using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>Represents a tensor in main memory as equally spaced rows of contiguous elements.</summary>
readonly unsafe struct Rows
{
    readonly byte* start;
    readonly long stride;       // in bytes

    Rows(Tensor tensor, long count, long width, long stride)
    {
        Tensor = tensor;
        start = (byte*)TensorMemory.Pointer(tensor);
        Count = count;
        Width = width;
        this.stride = stride;
    }

    /// <summary>Gets the tensor that owns the memory. It must be kept alive until after the last use.</summary>
    public Tensor Tensor { get; }

    public long Count { get; }

    public long Width { get; }

    public byte* this[long row] => start + row * stride;

    /// <summary>Returns the last dimension as rows. The tensor is copied, in the current scope, only if its strides are not those of rows.</summary>
    public static Rows From(Tensor tensor)
    {
        int last = (int)tensor.dim() - 1;
        long width = last < 0 ? 1 : tensor.size(last), count = 1, stride = 0;
        bool rows = last < 0 || width == 1 || tensor.stride(last) == 1;
        for (int i = last - 1; i >= 0; i--)
        {
            long size = tensor.size(i);
            if (size == 1) continue;
            if (count == 1) stride = tensor.stride(i);
            else rows &= tensor.stride(i) == stride * count;
            count *= size;
        }
        if (!rows)
        {
            tensor = tensor.contiguous();
            stride = width;
        }
        return new Rows(tensor, count, width, stride * tensor.ElementSize);
    }

    /// <summary>Creates a contiguous tensor of the same shape and dtype.</summary>
    public static Tensor NewLike(Tensor tensor)
    {
        var sizes = new long[tensor.dim()];         // the shape property is slow
        for (int i = 0; i < sizes.Length; i++) sizes[i] = tensor.size(i);
        return empty(sizes, tensor.dtype);
    }
}
