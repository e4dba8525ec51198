using HybridArchitectures.Kernels.Cpu;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>Tensors as kernels see them: addresses, row distances, and whether 16-byte accesses fit.</summary>
static unsafe class CudaMemory
{
    /// <summary>Makes the memory kernels write to; tests put guarded and poisoned memory in its place.</summary>
    internal static Func<long[], ScalarType, Device, Tensor> Allocator { get; set; } = static (sizes, type, device) => empty(sizes, type, device);

    /// <summary>A new contiguous tensor, not filled.</summary>
    public static Tensor New(Tensor like, ScalarType type, params long[] sizes) => Allocator(sizes, type, like.device);

    /// <summary>A new contiguous tensor of the same shape and type.</summary>
    public static Tensor NewLike(Tensor tensor)
    {
        var sizes = new long[tensor.dim()];         // the shape property is slow
        for (int i = 0; i < sizes.Length; i++) sizes[i] = tensor.size(i);
        return New(tensor, tensor.dtype, sizes);
    }

    /// <summary>The address of a tensor that may be absent.</summary>
    public static nint Address(Tensor? tensor) => tensor is null ? 0 : TensorMemory.Pointer(tensor);

    /// <summary>Contiguous float32, itself where it is that; in the current scope.</summary>
    public static Tensor? Float32(Tensor? tensor) => tensor?.to(ScalarType.Float32).contiguous();

    /// <summary>The elements between neighbouring rows.</summary>
    public static long Stride(Rows rows) => rows.Count > 1 ? (rows[1] - rows[0]) / rows.Tensor.ElementSize : rows.Width;

    /// <summary>Returns whether every row, divided into parts of <paramref name="part"/> elements, can be read in pieces of 16 bytes.</summary>
    public static bool Wide(long part, params ReadOnlySpan<Rows> all)
    {
        foreach (var rows in all)
            if (rows.Tensor is not null && ((nint)rows[0] % 16 != 0 || part * rows.Tensor.ElementSize % 16 != 0 || (rows.Count > 1 && (rows[1] - rows[0]) % 16 != 0))) return false;
        return true;
    }

    /// <summary>The ending of a kernel's name.</summary>
    public static string Suffix(ScalarType type, bool wide) => (type, wide) switch
    {
        (ScalarType.BFloat16, true) => "bfloat16_vector",
        (ScalarType.BFloat16, false) => "bfloat16_single",
        (_, true) => "float32_vector",
        _ => "float32_single",
    };

    /// <summary>Elements in 16 bytes, or 1.</summary>
    public static int VectorLength(ScalarType type, bool wide) => !wide ? 1 : type == ScalarType.BFloat16 ? 8 : 4;
}
