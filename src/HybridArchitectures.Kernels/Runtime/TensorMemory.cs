using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>Provides access to the memory of tensors.</summary>
public static unsafe class TensorMemory
{
    /// <summary>
    /// Returns the address of the first element of a tensor on any device. It is valid as long as <paramref name="tensor"/>: keep the tensor alive
    /// beyond the last use.
    /// </summary>
    public static nint Pointer(Tensor tensor)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        if (LibTorch.aoti_torch_get_data_ptr(tensor.Handle, out var pointer) != 0)
            throw new InvalidOperationException("libtorch gave no address for the tensor");
        GC.KeepAlive(tensor);
        return pointer;
    }

    /// <summary>Returns the address of the memory that a tensor shares with its views, on any device.</summary>
    internal static nint Storage(Tensor tensor) => Pointer(tensor) - (nint)(tensor.storage_offset() * tensor.ElementSize);

    /// <summary>
    /// Returns a copy of the elements of a tensor in row-major order, from any device. The tensor stays alive until the copy is complete.
    /// </summary>
    /// <param name="tensor">The tensor, with the element size of <typeparamref name="T"/>.</param>
    /// <exception cref="ArgumentException">The tensor is too long, or has another element size than <typeparamref name="T"/>.</exception>
    /// <remarks>TorchSharp's <c>data&lt;T&gt;().ToArray()</c> copies from memory that the garbage collector may already have freed.</remarks>
    public static T[] ToArray<T>(Tensor tensor) where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(tensor);
        using var scope = NewDisposeScope();
        var values = tensor.cpu().contiguous();
        var result = Span<T>(values).ToArray();
        GC.KeepAlive(values);
        return result;
    }

    /// <summary>
    /// Returns the elements of a contiguous tensor on the CPU, at most <see cref="int.MaxValue"/>, without a copy. The span is valid as long as
    /// <paramref name="tensor"/>.
    /// </summary>
    /// <exception cref="ArgumentException">
    /// The tensor is on another device, not contiguous, too long, or has another element size than <typeparamref name="T"/>.
    /// </exception>
    public static Span<T> Span<T>(Tensor tensor) where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(tensor);
        if (tensor.device_type != TorchSharp.DeviceType.CPU)
            throw Require.Unfit(nameof(tensor), $"{nameof(tensor)} is on {tensor.device}", "cpu");
        if (!tensor.is_contiguous()) throw Require.Unfit(nameof(tensor), $"{nameof(tensor)} is not contiguous", "a contiguous tensor");
        if (tensor.ElementSize != sizeof(T))
            throw Require.Refusal(nameof(tensor), tensor.dtype, $"elements of {sizeof(T)} bytes ({typeof(T).Name})");
        long count = tensor.NumberOfElements;
        if (count > int.MaxValue)
            throw Require.Unfit(nameof(tensor), $"{nameof(tensor)} has {count} elements", $"at most {int.MaxValue}");
        return count == 0 ? [] : new Span<T>((void*)Pointer(tensor), (int)count);
    }
}
