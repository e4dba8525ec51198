using System.Runtime.CompilerServices;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>Partial gradients that kernels left, added up in one launch; <c>PartialSums.cu</c> holds the kernel.</summary>
static class PartialSumsCuda
{
    const int Threads = 256, Most = 5;

    struct Sum
    {
        public nint From;
        public CudaTyped To;
        public long Count, Parts;
        public int Slices;
    }

    [InlineArray(Most)]
    struct Arguments
    {
        Sum first;
    }

    /// <summary>Up to five tensors of float32 parts, (parts, ...) each, added up over their parts, in the type of what they are the gradient of; none
    /// where either is absent. A single part may have
    /// that type already.</summary>
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
            int slices = 1;                                      // by the sizes alone: more where threads are few and parts many
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
