using System.Runtime.InteropServices;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>Declares the CUDA part of the C interface of libtorch.</summary>
static partial class LibTorchCuda
{
    /// <summary>
    /// Returns the current stream of libtorch on this thread and device. Do not store it, because it may be another one in the next call.
    /// </summary>
    public static nint CurrentStream(int device)
    {
        if (aoti_torch_get_current_cuda_stream(device, out var stream) != 0)
            throw new CudaException($"libtorch gave no current stream of device {device}");
        return stream;
    }

    /// <summary>Makes a stream the current one of libtorch on this thread and its device.</summary>
    public static void SetStream(nint stream, int device)
    {
        if (torch_set_current_cuda_stream(stream, device) != 0) throw new CudaException($"libtorch does not take the stream on device {device}");
    }

    /// <summary>Makes a device the current one of libtorch on this thread until disposed.</summary>
    public static DeviceGuard On(int device) => new(device);

    [LibraryImport(NativeNames.TorchCuda)]
    private static partial int aoti_torch_get_current_cuda_stream(int device, out nint stream);

    [LibraryImport(NativeNames.TorchCuda)]
    private static partial int torch_set_current_cuda_stream(nint stream, int device);

    [LibraryImport(NativeNames.TorchCuda)]
    private static partial int aoti_torch_create_cuda_guard(int device, out nint guard);

    [LibraryImport(NativeNames.TorchCuda)]
    private static partial int aoti_torch_delete_cuda_guard(nint guard);

    /// <summary>Restores the previous device.</summary>
    public readonly ref struct DeviceGuard
    {
        readonly nint guard;

        internal DeviceGuard(int device)
        {
            if (aoti_torch_create_cuda_guard(device, out guard) != 0)
                throw new CudaException($"libtorch does not make device {device} the current one");
        }

        public void Dispose() => aoti_torch_delete_cuda_guard(guard);
    }
}
