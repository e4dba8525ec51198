using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>The one product of cuBLAS that libtorch does not offer from here: bfloat16 factors added onto a float32 matrix. By libtorch's own handle, on its current stream.</summary>
static unsafe partial class CudaBlas
{
    const int BFloat16 = 14, Float32 = 0, ComputeFloat32 = 68, DefaultAlgorithm = -1, Plain = 0, Transposed = 1;

    static readonly Lazy<nint> GemmEx = new(Find);

    /// <summary>Adds a^T b onto <paramref name="sum"/>; false where cuBLAS is not to be had, and then nothing is done.</summary>
    /// <param name="sum">(M, N) float32, contiguous.</param>
    /// <param name="a">(K, M) bfloat16, rows without gaps between neighbours.</param>
    /// <param name="b">(K, N) bfloat16, likewise.</param>
    public static bool TryAddProduct(Tensor sum, Tensor a, Tensor b)
    {
        if (sum.device_type != DeviceType.CUDA || GemmEx.Value == 0 || a.stride(1) != 1) return false;
        if (b.stride(1) != 1) return false;
        nint handle;
        try
        {
            if (torch_get_current_cuda_blas_handle(out handle) != 0 || handle == 0) return false;
        }
        catch (EntryPointNotFoundException)
        {
            return false;
        }
        var gemm = (delegate* unmanaged<nint, int, int, int, int, int, float*, nint, int, int, nint, int, int, float*, nint, int, int, int, int, int>)GemmEx.Value;
        float one = 1;
        // column by column a row-major matrix is its transpose: sum^T = b^T a
        int code = gemm(handle, Plain, Transposed, checked((int)b.size(1)), checked((int)a.size(1)), checked((int)a.size(0)), &one, TensorMemory.Pointer(b), BFloat16,
            checked((int)b.stride(0)), TensorMemory.Pointer(a), BFloat16, checked((int)a.stride(0)), &one, TensorMemory.Pointer(sum), Float32, checked((int)sum.stride(0)), ComputeFloat32, DefaultAlgorithm);
        if (code != 0) throw new CudaException($"cuBLAS: cublasGemmEx of ({a.size(1)} x {a.size(0)}) by ({b.size(0)} x {b.size(1)}) failed with status {code}");
        GC.KeepAlive((sum, a, b));
        return true;
    }

    // libtorch has loaded it already
    static nint Find()
    {
        foreach (var name in NativeNames.Blas(TorchLibrary.Folder))
            if (NativeLibrary.TryLoad(name, out var library) && NativeLibrary.TryGetExport(library, "cublasGemmEx", out var export)) return export;
        return 0;
    }

    [LibraryImport(NativeNames.TorchCuda)]
    private static partial int torch_get_current_cuda_blas_handle(out nint handle);
}
