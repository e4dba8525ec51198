using System.Runtime.CompilerServices;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>Adds partial gradients of kernels in one launch, with the kernel in <c>PartialSums.cu</c>.</summary>
static class PartialSumsCuda
{
    const int Threads = 256, MaxSums = 5;

    struct Sum
    {
        public nint From;
        public CudaTyped To;
        public long Count, Parts;
        public int Slices;
    }

    [InlineArray(MaxSums)]
    struct Arguments
    {
        Sum first;
    }

    /// <summary>
    /// Adds up to five float32 tensors of partial sums, (parts, ...) each, over their parts, and returns the sums in the type of the tensor of which
    /// they are the gradient; null where either is absent. A single part may already have that type.
    /// </summary>
    public static Tensor?[] Compute(params ReadOnlySpan<(Tensor? Parts, Tensor? Like)> all)
    {
        Arguments sums = default;
        var results = new Tensor?[all.Length];
        CudaDevice? device = null;
        long blocks = 0;
        for (int i = 0; i < all.Length; i++)
        {
            if (all[i] is not ({ } parts, { } like)) continue;
            if (parts.size(0) == 1 && parts.dtype == like.dtype)
            {
                results[i] = parts.squeeze(0);
                continue;
            }
            var type = like.dtype == ScalarType.BFloat16 ? ScalarType.BFloat16 : ScalarType.Float32;
            var result = results[i] = CudaMemory.New(parts, type, parts.shape[1..]);
            long count = result.numel();
            int slices = 1;                                      // depends only on the sizes: more if there are few threads and many parts
            while (slices < 64 && parts.size(0) >= 16 * slices && count * slices < 256 * 1024) slices *= 2;
            sums[i] = new() { From = CudaMemory.Address(parts), To = CudaTyped.From(result), Count = count, Parts = parts.size(0), Slices = slices };
            blocks = Math.Max(blocks, (count + 4 * Threads / slices - 1) / (4 * Threads / slices));
            device ??= CudaRuntime.DeviceOf(parts);
        }
        device?.Launch("PartialSums.cu", "partial_sums_up", (blocks, all.Length, 1), Threads, 4 * Threads * sizeof(double), sums);
        for (int i = 0; i < all.Length; i++)
        {
            GC.KeepAlive(all[i].Parts);
            if (all[i].Like is { } like && results[i] is { } result && result.dtype != like.dtype) results[i] = result.to(like.dtype);
        }
        return results;
    }
}
