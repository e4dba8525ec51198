using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cpu;

/// <summary>
/// Converts tensors for the CPU kernels: float32, with a contiguous last dimension. Larger strides of other dimensions are supported, so slices are
/// not copied.
/// </summary>
static unsafe class CpuRows
{
    /// <summary>Returns the tensor if it is suitable, and otherwise a copy in the current scope.</summary>
    public static Tensor From(Tensor tensor)
    {
        if (tensor.dtype != ScalarType.Float32) tensor = tensor.to(ScalarType.Float32);
        return tensor.size(-1) == 1 || tensor.stride(-1) == 1 ? tensor : tensor.contiguous();
    }

    /// <summary>Returns a contiguous float32 copy, or the tensor if it is suitable.</summary>
    public static Tensor? Whole(Tensor? tensor)
    {
        if (tensor is null) return null;
        if (tensor.dtype != ScalarType.Float32) tensor = tensor.to(ScalarType.Float32);
        return tensor.is_contiguous() ? tensor : tensor.contiguous();
    }

    /// <summary>Returns the address of the first element. It is null if there is no tensor or no element, and never otherwise.</summary>
    /// <exception cref="InvalidOperationException">The memory of the tensor was released.</exception>
    public static float* Pointer(Tensor? tensor)
    {
        if (tensor is null) return null;
        nint address = TensorMemory.Pointer(tensor);
        if (address == 0 && tensor.NumberOfElements > 0)
            throw new InvalidOperationException($"a tensor of shape {Checks.Describe(tensor)} has no memory; expected one that was not released");
        return (float*)address;
    }

    /// <summary>Returns a result in the dtype of another tensor.</summary>
    public static Tensor As(Tensor result, Tensor like) => result.dtype == like.dtype ? result : result.to(like.dtype);

    /// <summary>Creates a new tensor that will be overwritten completely.</summary>
    public static Tensor New(ScalarType type, params ReadOnlySpan<long> sizes)
    {
        var tensor = empty(sizes, type);
        return OperatorOptions.Current.NewMemoryFill is { } fill ? tensor.fill_(Scalars.From(fill)) : tensor;
    }
}
