using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>Copies a few numbers of the host to a GPU, again and again, without waiting for the work that is queued there.</summary>
sealed class DeviceUpload : IDisposable
{
    readonly Tensor pinned;
    readonly CudaDevice device;
    nint arrived;
    bool isUsed;

    /// <summary>Creates an upload to tensors with the shape and type of another, on a GPU.</summary>
    public DeviceUpload(Tensor like)
    {
        device = CudaRuntime.DeviceOf(like);
        using var plain = empty(like.shape, like.dtype);
        pinned = plain.pin_memory().DetachFromDisposeScope();
        nint made = 0;
        device.Within(() => made = CudaGraphDriver.CreateEvent());
        arrived = made;
    }

    /// <summary>Queues a copy on the current stream, after the copy before has arrived.</summary>
    /// <param name="values">The numbers, as many as <paramref name="target"/> has, in row-major order.</param>
    /// <param name="target">The contiguous tensor to overwrite.</param>
    public void Copy<T>(ReadOnlySpan<T> values, Tensor target) where T : unmanaged
    {
        if (isUsed) device.Within(() => CudaGraphDriver.Synchronize(arrived));
        values.CopyTo(TensorMemory.Span<T>(pinned));
        target.copy_(pinned, true);
        device.Within(() => CudaGraphDriver.Record(arrived, LibTorchCuda.CurrentStream(device.Index)));
        isUsed = true;
    }

    public void Dispose()
    {
        // the driver ends the process if an event is destroyed twice
        if (arrived != 0) device.Within(() => CudaGraphDriver.DestroyEvent(arrived));
        arrived = 0;
        pinned.Dispose();
    }
}
