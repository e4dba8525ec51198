using System.Runtime.InteropServices;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>The CUDA half of libtorch's plain C interface.</summary>
static partial class LibTorchCuda
{
    /// <summary>The stream libtorch works on now, on this thread and device: never kept, since it may be another at the next call.</summary>
    public static nint CurrentStream(int device)
    {
        if (aoti_torch_get_current_cuda_stream(device, out var stream) != 0) throw new CudaException($"libtorch gave no current stream of device {device}");
        return stream;
    }

    [LibraryImport(NativeNames.TorchCuda)]
    private static partial int aoti_torch_get_current_cuda_stream(int device, out nint stream);
}
