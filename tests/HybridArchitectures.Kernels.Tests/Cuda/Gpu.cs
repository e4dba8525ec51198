using HybridArchitectures.Kernels.Cuda;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>Provides the GPU that device tests use.</summary>
static class Gpu
{
    public static Device Device => CUDA;

    /// <summary>
    /// Skips the test where there is no GPU, and says so. Seeds the GPU's random numbers, so that a test draws the same inputs in every run:
    /// <c>torch.manual_seed</c> of TorchSharp seeds main memory's generator alone, and libtorch seeds the GPU's with random bits.
    /// </summary>
    public static void IsNeeded()
    {
        Assert.SkipUnless(cuda.is_available(), "no CUDA device: the kernels were not run on a GPU");
        cuda.manual_seed_all(1);
    }

    /// <summary>
    /// Until disposed, the memory to which this library's kernels write holds NaN first and is between guards, and new memory of libtorch's allocator
    /// holds NaN.
    /// </summary>
    public static IDisposable Poisoned() => new Poison();

    /// <summary>Fills free blocks of libtorch's allocator, small ones and large ones, with bits that are NaN in every floating type.</summary>
    public static void PoisonFreeBlocks()
    {
        using var scope = NewDisposeScope();
        foreach (var (count, bytes) in new[] { (64, 4L << 10), (32, 512L << 10), (8, 8L << 20), (4, 256L << 20) })
            for (int i = 0; i < count; i++) full([bytes], Kernels.Runtime.Scalars.From(255L), ScalarType.Byte, Device);
    }

    sealed class Poison : IDisposable
    {
        const int Guard = 64;

        readonly IDisposable options;
        readonly List<(Tensor Whole, long Inner)> allocated = [];

        public Poison()
        {
            PoisonFreeBlocks();
            options = OperatorOptions.Use(OperatorOptions.Current with { Allocator = Allocate });
        }

        public void Dispose()
        {
            options.Dispose();
            using var scope = NewDisposeScope();
            bool intact = true;
            foreach (var (whole, inner) in allocated)
            {
                var guards = cat([whole.narrow(0, 0, Guard), whole.narrow(0, Guard + inner, Guard)]);
                intact &= guards.isnan().all().item<bool>();
                whole.Dispose();
            }
            Assert.True(intact, "a kernel wrote past the end of a tensor");
        }

        Tensor Allocate(long[] sizes, ScalarType type, Device device)
        {
            if (!is_floating_point(type)) return empty(sizes, type, device);
            long inner = sizes.Aggregate(1L, (product, size) => product * size);
            var whole = full([inner + 2 * Guard], NotANumber, type, device).DetachFromDisposeScope();
            // a backward pass runs on a thread of libtorch's own
            lock (allocated) allocated.Add((whole, inner));
            return whole.narrow(0, Guard, inner).reshape(sizes);
        }
    }

    static readonly Scalar NotANumber = double.NaN.ToScalar();
}
