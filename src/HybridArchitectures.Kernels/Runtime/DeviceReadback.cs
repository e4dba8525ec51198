using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>Copies a small tensor from a GPU to the host without waiting for work that is queued after the copy.</summary>
sealed class DeviceReadback : IDisposable
{
    readonly Tensor pinned;
    readonly CudaDevice device;
    nint arrived;

    /// <summary>Creates a readback for tensors with the shape and type of another, on a GPU.</summary>
    public DeviceReadback(Tensor like)
    {
        device = CudaRuntime.DeviceOf(like);
        using var plain = empty(like.shape, like.dtype);
        pinned = plain.pin_memory().DetachFromDisposeScope();
        nint made = 0;
        device.Within(() => made = CudaGraphDriver.CreateEvent());
        arrived = made;
    }

    /// <summary>Queues the copy on the current stream.</summary>
    public void Begin(Tensor source)
    {
        pinned.copy_(source, true);
        device.Within(() => CudaGraphDriver.Record(arrived, LibTorchCuda.CurrentStream(device.Index)));
    }

    /// <summary>Waits for the copy and returns its elements.</summary>
    public T[] End<T>() where T : unmanaged
    {
        device.Within(() => CudaGraphDriver.Synchronize(arrived));
        return TensorMemory.ToArray<T>(pinned);
    }

    public void Dispose()
    {
        // the driver ends the process if an event is destroyed twice
        if (arrived != 0) device.Within(() => CudaGraphDriver.DestroyEvent(arrived));
        arrived = 0;
        pinned.Dispose();
    }
}
