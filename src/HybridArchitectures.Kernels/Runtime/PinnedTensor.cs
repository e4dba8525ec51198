using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>Represents page-locked memory of the host for copies from and to a GPU, with an event that marks the end of a copy.</summary>
sealed class PinnedTensor : IDisposable
{
    readonly CudaDevice device;
    nint arrived;

    /// <summary>Allocates memory with the shape and type of a tensor on a GPU.</summary>
    public PinnedTensor(Tensor like)
    {
        device = CudaRuntime.DeviceOf(like);
        using var plain = empty(like.shape, like.dtype);
        Values = plain.pin_memory().DetachFromDisposeScope();
        nint made = 0;
        device.Within(() => made = CudaGraphDriver.CreateEvent());
        arrived = made;
    }

    /// <summary>Gets the memory.</summary>
    public Tensor Values { get; }

    /// <summary>Marks the end of what is queued on the current stream.</summary>
    public void Record() => device.Within(() => CudaGraphDriver.Record(arrived, LibTorchCuda.CurrentStream(device.Index)));

    /// <summary>Waits for the last mark.</summary>
    public void Wait() => device.Within(() => CudaGraphDriver.Synchronize(arrived));

    public void Dispose()
    {
        // the driver ends the process if an event is destroyed twice
        if (arrived != 0) device.Within(() => CudaGraphDriver.DestroyEvent(arrived));
        arrived = 0;
        Values.Dispose();
    }
}
