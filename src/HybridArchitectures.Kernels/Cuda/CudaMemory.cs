using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>Provides what kernels need to know of tensors: addresses, row strides, and whether 16-byte accesses are possible.</summary>
static unsafe class CudaMemory
{
    /// <summary>Returns a new contiguous tensor with undefined contents on the device of <paramref name="like"/>.</summary>
    public static Tensor New(Tensor like, ScalarType type, params long[] sizes) =>
        OperatorOptions.Current.Allocator is { } allocate ? allocate(sizes, type, like.device) : empty(sizes, type, like.device);

    /// <summary>Returns a new contiguous tensor of the same shape and type with undefined contents.</summary>
    public static Tensor NewLike(Tensor tensor)
    {
        var sizes = new long[tensor.dim()];         // the shape property is slow
        for (int i = 0; i < sizes.Length; i++) sizes[i] = tensor.size(i);
        return New(tensor, tensor.dtype, sizes);
    }

    /// <summary>Returns the place of the gradient of an input that is a slice; null if it needs separate memory.</summary>
    public static Tensor? PlaceOf(Tensor input, GradientSlice? slice) => slice?.Take(input, New);

    /// <summary>Returns the address of a tensor, or 0 for null.</summary>
    public static nint Address(Tensor? tensor) => tensor is null ? 0 : TensorMemory.Pointer(tensor);

    /// <summary>Returns a contiguous float32 tensor in the current scope: the tensor itself if it is one.</summary>
    public static Tensor? Float32(Tensor? tensor) => tensor?.to(ScalarType.Float32).contiguous();

    /// <summary>Returns the number of elements between neighbouring rows.</summary>
    public static long Stride(Rows rows) => rows.Count > 1 ? (rows[1] - rows[0]) / rows.Tensor.ElementSize : rows.Width;

    /// <summary>Returns whether every row, divided into parts of <paramref name="part"/> elements, can be read in pieces of 16 bytes.</summary>
    public static bool Wide(long part, params ReadOnlySpan<Rows> all)
    {
        foreach (var rows in all)
            if (rows.Tensor is not null && (
                (nint)rows[0] % 16 != 0 || part * rows.Tensor.ElementSize % 16 != 0
                || (rows.Count > 1 && (rows[1] - rows[0]) % 16 != 0))) return false;
        return true;
    }

    /// <summary>Returns the name of an element type in kernels.</summary>
    public static string ElementName(ScalarType type) => type == ScalarType.BFloat16 ? "bfloat16" : "float";

    /// <summary>Returns the suffix of the name of a kernel.</summary>
    public static string Suffix(ScalarType type, bool wide) => (type, wide) switch
    {
        (ScalarType.BFloat16, true) => "bfloat16_vector",
        (ScalarType.BFloat16, false) => "bfloat16_single",
        (_, true) => "float32_vector",
        _ => "float32_single",
    };

    /// <summary>Returns the number of elements in 16 bytes, or 1.</summary>
    public static int VectorLength(ScalarType type, bool wide) => !wide ? 1 : type == ScalarType.BFloat16 ? 8 : 4;
}
