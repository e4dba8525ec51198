using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>
/// Computes the one product of cuBLAS that libtorch does not offer here: bfloat16 operands and a float32 result. It uses the handle and the current
/// stream of libtorch.
/// </summary>
static unsafe partial class CudaBlas
{
    const int BFloat16 = 14, Float32 = 0, ComputeFloat32 = 68, DefaultAlgorithm = -1, Plain = 0, Transposed = 1;

    static readonly Lazy<nint> GemmEx = new(Find);

    /// <summary>Sets <paramref name="result"/> to a b, or adds a b to it. Returns false, and does nothing, if cuBLAS is not available.</summary>
    /// <param name="result">(M, N) float32, contiguous.</param>
    /// <param name="a">(M, K) bfloat16, or (K, M) if transposed. Neighbours in a row are contiguous.</param>
    /// <param name="transposed">Whether the transpose of <paramref name="a"/> is used.</param>
    /// <param name="b">(K, N) bfloat16. Neighbours in a row are contiguous.</param>
    /// <param name="add">Whether the product is added.</param>
    public static bool TryProduct(Tensor result, Tensor a, bool transposed, Tensor b, bool add)
    {
        if (result.device_type != DeviceType.CUDA || GemmEx.Value == 0 || a.stride(1) != 1 || b.stride(1) != 1) return false;
        // the handle belongs to the current device
        using var device = LibTorchCuda.On(result.device_index);
        nint handle;
        try
        {
            if (torch_get_current_cuda_blas_handle(out handle) != 0 || handle == 0) return false;
        }
        catch (EntryPointNotFoundException)
        {
            return false;
        }
        var gemm = (delegate* unmanaged<nint, int, int, int, int, int, float*, nint, int, int, nint, int, int, float*, nint, int, int, int, int,
            int>)GemmEx.Value;
        float one = 1, kept = add ? 1 : 0;
        int m = checked((int)result.size(0)), n = checked((int)result.size(1)), k = checked((int)b.size(0));
        // in column-major order a row-major matrix is its transpose: result^T = b^T a^T
        int code = gemm(handle, Plain, transposed ? Transposed : Plain, n, m, k, &one, TensorMemory.Pointer(b), BFloat16, checked((int)b.stride(0)),
            TensorMemory.Pointer(a), BFloat16, checked((int)a.stride(0)), &kept, TensorMemory.Pointer(result), Float32,
            checked((int)result.stride(0)), ComputeFloat32, DefaultAlgorithm);
        if (code != 0) throw new CudaException($"cuBLAS: cublasGemmEx of ({m} x {k}) by ({k} x {n}) failed with status {code}");
        GC.KeepAlive((result, a, b));
        return true;
    }

    // libtorch has already loaded it
    static nint Find()
    {
        foreach (var name in NativeNames.Blas(TorchLibrary.Folder))
            if (NativeLibrary.TryLoad(name, out var library) && NativeLibrary.TryGetExport(library, "cublasGemmEx", out var export)) return export;
        return 0;
    }

    [LibraryImport(NativeNames.TorchCuda)]
    private static partial int torch_get_current_cuda_blas_handle(out nint handle);
}
