using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>The memory behind a tensor.</summary>
public static unsafe class TensorMemory
{
    /// <summary>The address of the tensor's first element, on whichever device it lives. Valid while <paramref name="tensor"/> is: keep it alive past the last use.</summary>
    public static nint Pointer(Tensor tensor)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        if (LibTorch.aoti_torch_get_data_ptr(tensor.Handle, out var pointer) != 0) throw new InvalidOperationException("libtorch gave no address for the tensor");
        GC.KeepAlive(tensor);
        return pointer;
    }

    /// <summary>Returns a copy of a tensor's elements in row-major order, from any device. The tensor lives until the copy is made.</summary>
    /// <param name="tensor">The tensor; its element size is that of <typeparamref name="T"/>.</param>
    /// <exception cref="ArgumentException">The tensor is too long, or of another element size than <typeparamref name="T"/>.</exception>
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

    /// <summary>The elements of a contiguous tensor in main memory, at most <see cref="int.MaxValue"/> of them, as a view: no copy. Valid while <paramref name="tensor"/> is.</summary>
    /// <exception cref="ArgumentException">The tensor is elsewhere, not contiguous, too long, or of another element size than <typeparamref name="T"/>.</exception>
    public static Span<T> Span<T>(Tensor tensor) where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(tensor);
        if (tensor.device_type != TorchSharp.DeviceType.CPU) throw new ArgumentException($"the tensor is on {tensor.device}; expected main memory", nameof(tensor));
        if (!tensor.is_contiguous()) throw new ArgumentException("the tensor is not contiguous", nameof(tensor));
        if (tensor.ElementSize != sizeof(T)) throw new ArgumentException($"the tensor is {tensor.dtype}; expected elements of {sizeof(T)} bytes ({typeof(T).Name})", nameof(tensor));
        long count = tensor.NumberOfElements;
        if (count > int.MaxValue) throw new ArgumentException($"the tensor has {count} elements; a span holds {int.MaxValue}", nameof(tensor));
        return count == 0 ? [] : new Span<T>((void*)Pointer(tensor), (int)count);
    }
}
