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

    /// <summary>Up to five tensors of float32 parts, (parts, ...) each, added up over their parts, in the type of what they are the gradient of; none where that is absent.
    /// </summary>
    public static Tensor?[] Of(params ReadOnlySpan<(Tensor Parts, Tensor? Like)> all)
    {
        Arguments sums = default;
        var results = new Tensor?[all.Length];
        long blocks = 0;
        for (int i = 0; i < all.Length; i++)
        {
            var (parts, like) = all[i];
            if (like is null) continue;
            if (parts.size(0) == 1 && like.dtype == ScalarType.Float32)
            {
                results[i] = parts.squeeze(0);
                continue;
            }
            long count = parts.numel() / parts.size(0);
            int slices = 1;                                      // by the sizes alone: more where threads are few and parts many
            while (slices < 8 && parts.size(0) >= 16 * slices && count * slices < 256 * 1024) slices *= 2;
            var type = like.dtype == ScalarType.BFloat16 ? ScalarType.BFloat16 : ScalarType.Float32;
            var result = results[i] = CudaMemory.New(parts, type, parts.shape[1..]);
            sums[i] = new() { From = CudaMemory.Address(parts), To = CudaTyped.Of(result), Count = count, Parts = parts.size(0), Slices = slices };
            blocks = Math.Max(blocks, (count + 4 * Threads / slices - 1) / (4 * Threads / slices));
        }
        if (all.Length > 0) CudaRuntime.DeviceOf(all[0].Parts).Launch("PartialSums.cu", "partial_sums_up", (blocks, all.Length, 1), Threads, 4 * Threads * sizeof(float), sums);
        for (int i = 0; i < all.Length; i++)
        {
            GC.KeepAlive(all[i].Parts);
            if (all[i].Like is { } like && results[i]!.dtype != like.dtype) results[i] = results[i]!.to(like.dtype);
        }
        return results;
    }
}
