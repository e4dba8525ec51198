using System.Runtime.CompilerServices;
using HybridArchitectures.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>Updates many parameters by AdamW on a GPU, up to 64 in a launch, with the kernel in <c>AdamW.cu</c>.</summary>
static class AdamWCuda
{
    const int MaxTensors = 64, Threads = 256, SharedBytes = 64;
    const long PerBlock = 4096;

    internal struct TensorArguments
    {
        public nint Value, Gradient, First, Second, Copy;
        public long Count;
        public int EndBlock, IsBFloat16;        // the type of the gradient
    }

    [InlineArray(MaxTensors)]
    internal struct TensorTable
    {
        TensorArguments first;
    }

    internal struct Arguments
    {
        public TensorTable Tensors;
        public nint Rate, Steps, Failed, Divisor;
        public long TensorCount;
        public double Beta1, Beta2, Epsilon, Decay;
    }

    /// <summary>
    /// Returns whether the kernel serves a parameter: float32 (the gradient also bfloat16) on a GPU, in memory that can be read in pieces of 16
    /// bytes.
    /// </summary>
    public static bool Serves(AdamWTensors tensors) =>
        (tensors.Value.device_type == DeviceType.CUDA || CudaRuntime.Emulated)
        && IsPlain(tensors.Value) && IsPlain(tensors.Gradient, orBFloat16: true) && IsPlain(tensors.First) && IsPlain(tensors.Second);

    static bool IsPlain(Tensor tensor, bool orBFloat16 = false) =>
        (tensor.dtype == ScalarType.Float32 || (orBFloat16 && tensor.dtype == ScalarType.BFloat16)) && tensor.is_contiguous()
        && CudaMemory.Address(tensor) % 16 == 0;

    /// <summary>Updates parameters that <see cref="Serves"/> accepts, all on one device.</summary>
    public static void Update(IReadOnlyList<AdamWTensors> all, AdamWStep step)
    {
        var arguments = new Arguments
        {
            Rate = CudaMemory.Address(step.Rate), Steps = CudaMemory.Address(step.Steps), Failed = CudaMemory.Address(step.Failed),
            Divisor = CudaMemory.Address(step.Divisor), Beta1 = step.Beta1, Beta2 = step.Beta2, Epsilon = step.Epsilon, Decay = step.Decay,
        };
        for (int first = 0; first < all.Count; first += MaxTensors)
        {
            int count = Math.Min(MaxTensors, all.Count - first);
            long blocks = 0;
            for (int i = 0; i < count; i++)
            {
                var (value, gradient, mean, square, copy) = all[first + i];
                long elements = value.NumberOfElements;
                blocks += (elements + PerBlock - 1) / PerBlock;
                arguments.Tensors[i] = new()
                {
                    Value = CudaMemory.Address(value), Gradient = CudaMemory.Address(gradient), First = CudaMemory.Address(mean),
                    Second = CudaMemory.Address(square), Copy = CudaMemory.Address(copy), Count = elements, EndBlock = checked((int)blocks),
                    IsBFloat16 = gradient.dtype == ScalarType.BFloat16 ? 1 : 0,
                };
            }
            arguments.TensorCount = count;
            CudaRuntime.DeviceOf(all[first].Value).Launch("AdamW.cu", "adamw_step_many", (blocks, 1, 1), Threads, SharedBytes, arguments);
        }
        GC.KeepAlive((all, step));
    }
}
