using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>Copies a small tensor from a GPU to the host without waiting for work that is queued after the copy.</summary>
/// <param name="like">A tensor with the shape and type of those that are copied, on a GPU.</param>
sealed class DeviceReadback(Tensor like) : IDisposable
{
    readonly PinnedTensor host = new(like);

    /// <summary>Queues the copy on the current stream.</summary>
    public void Begin(Tensor source)
    {
        host.Values.copy_(source, true);
        host.Record();
    }

    /// <summary>Waits for the copy and returns its elements.</summary>
    public T[] End<T>() where T : unmanaged
    {
        host.Wait();
        return TensorMemory.ToArray<T>(host.Values);
    }

    public void Dispose() => host.Dispose();
}
