using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>Copies a few numbers of the host to a GPU, again and again, without waiting for the work that is queued there.</summary>
/// <param name="like">A tensor with the shape and type of those that are overwritten, on a GPU.</param>
sealed class DeviceUpload(Tensor like) : IDisposable
{
    readonly PinnedTensor host = new(like);
    bool isUsed;

    /// <summary>Queues a copy on the current stream, after the copy before has arrived.</summary>
    /// <param name="values">The numbers, as many as <paramref name="target"/> has, in row-major order.</param>
    /// <param name="target">The contiguous tensor to overwrite.</param>
    public void Copy<T>(ReadOnlySpan<T> values, Tensor target) where T : unmanaged
    {
        if (isUsed) host.Wait();
        values.CopyTo(TensorMemory.Span<T>(host.Values));
        target.copy_(host.Values, true);
        host.Record();
        isUsed = true;
    }

    public void Dispose() => host.Dispose();
}
