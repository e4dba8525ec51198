using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cpu;

/// <summary>Tensors as the CPU kernels read them: float32, the last dimension without gaps. Wider strides before it are read as they are, so slices
/// are not copied.</summary>
static unsafe class CpuRows
{
    /// <summary>The tensor itself where it fits, otherwise a copy in the current scope.</summary>
    public static Tensor From(Tensor tensor)
    {
        if (tensor.dtype != ScalarType.Float32) tensor = tensor.to(ScalarType.Float32);
        return tensor.size(-1) == 1 || tensor.stride(-1) == 1 ? tensor : tensor.contiguous();
    }

    /// <summary>A contiguous float32 copy, or the tensor itself.</summary>
    public static Tensor? Whole(Tensor? tensor)
    {
        if (tensor is null) return null;
        if (tensor.dtype != ScalarType.Float32) tensor = tensor.to(ScalarType.Float32);
        return tensor.is_contiguous() ? tensor : tensor.contiguous();
    }

    public static float* Pointer(Tensor? tensor) => tensor is null ? null : (float*)TensorMemory.Pointer(tensor);

    /// <summary>A result in the type its counterpart has.</summary>
    public static Tensor As(Tensor result, Tensor like) => result.dtype == like.dtype ? result : result.to(like.dtype);

    /// <summary>A new tensor to be written in full.</summary>
    public static Tensor New(ScalarType type, params ReadOnlySpan<long> sizes)
    {
        var tensor = empty(sizes, type);
        return CpuTasks.Poison ? tensor.fill_(Scalars.From(double.NaN)) : tensor;
    }
}
