using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>Describes a tensor whose type is passed to a kernel at run time: float32 or bfloat16.</summary>
struct CudaTyped
{
    public nint Base;
    public long BFloat16;

    public static CudaTyped From(Tensor? tensor) =>
        tensor is null ? default : new() { Base = CudaMemory.Address(tensor), BFloat16 = tensor.dtype == ScalarType.BFloat16 ? 1 : 0 };
}
