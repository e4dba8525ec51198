using System.Runtime.CompilerServices;
using HybridArchitectures.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>Computes the norm of many gradients together on a GPU, with the kernels in <c>GradientNorm.cu</c>.</summary>
static class GradientNormCuda
{
    const string File = "GradientNorm.cu";
    const int MaxTensors = 128, Threads = 256, SharedBytes = Threads / 32 * sizeof(double);
    const long PerBlock = 16_384;

    internal struct TensorArguments
    {
        public nint Gradient;
        public long Count;
        public int EndBlock, IsBFloat16;
    }

    [InlineArray(MaxTensors)]
    internal struct TensorTable
    {
        TensorArguments first;
    }

    internal struct SquaresArguments
    {
        public TensorTable Tensors;
        public nint Sums;
        public long TensorCount;
    }

    internal struct RootArguments
    {
        public nint Sums, Norm;
        public long Count;
    }

    /// <summary>
    /// Returns whether the kernels serve a gradient: float32 or bfloat16 on a GPU, contiguous, at an address that is a multiple of 16.
    /// </summary>
    public static bool Serves(Tensor gradient) =>
        (gradient.device_type == DeviceType.CUDA || CudaRuntime.Emulated) && gradient.dtype is ScalarType.Float32 or ScalarType.BFloat16
        && gradient.is_contiguous() && CudaMemory.Address(gradient) % 16 == 0;

    /// <summary>Returns the norm of gradients that <see cref="Serves"/> accepts, all on one device: a float32 scalar on that device.</summary>
    public static Tensor Compute(IReadOnlyList<Tensor> gradients)
    {
        using var scope = NewDisposeScope();
        var device = CudaRuntime.DeviceOf(gradients[0]);
        long total = gradients.Sum(BlocksOf), written = 0;
        var (sums, norm) = (CudaMemory.New(gradients[0], ScalarType.Float64, Math.Max(1, total)), CudaMemory.New(gradients[0], ScalarType.Float32));
        foreach (var some in gradients.Chunk(MaxTensors))
        {
            var arguments = new SquaresArguments { Sums = CudaMemory.Address(sums) + (nint)(written * sizeof(double)), TensorCount = some.Length };
            long blocks = 0;
            for (int i = 0; i < some.Length; i++)
                arguments.Tensors[i] = new()
                {
                    Gradient = CudaMemory.Address(some[i]), Count = some[i].NumberOfElements,
                    EndBlock = checked((int)(blocks += BlocksOf(some[i]))), IsBFloat16 = some[i].dtype == ScalarType.BFloat16 ? 1 : 0,
                };
            if (blocks > 0) device.Launch(File, "squares_many", (blocks, 1, 1), Threads, SharedBytes, arguments);
            written += blocks;
        }
        device.Launch(File, "norm_of_squares", (1, 1, 1), Threads, SharedBytes,
            new RootArguments { Sums = CudaMemory.Address(sums), Norm = CudaMemory.Address(norm), Count = total });
        GC.KeepAlive(gradients);
        return norm.MoveToOuterDisposeScope();
    }

    static long BlocksOf(Tensor gradient) => (gradient.NumberOfElements + PerBlock - 1) / PerBlock;
}
