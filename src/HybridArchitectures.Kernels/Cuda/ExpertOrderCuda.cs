using HybridArchitectures.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>Sorts visits of tokens by expert on a GPU, with the kernels in <c>ExpertOrder.cu</c>.</summary>
static class ExpertOrderCuda
{
    const int Warp = 32;
    const long MinChunk = 4 * Warp, MaxChunks = 128, MaxExperts = 1024;

    struct Arguments
    {
        public nint Chosen, Counts, Order, Inverse, Source, Ends, Loads;
        public long Visits, Experts, Choices, Chunk;
    }

    /// <summary>Returns whether the kernels take the experts of visits, int64.</summary>
    public static bool Serves(Tensor chosen, long experts) =>
        (chosen.device_type == DeviceType.CUDA || CudaRuntime.Emulated) && chosen.is_contiguous()
        && chosen.NumberOfElements is > 0 and <= int.MaxValue && experts <= MaxExperts;

    /// <summary>Sorts visits.</summary>
    /// <param name="chosen">(tokens, choices) int64, which <see cref="Serves"/> accepts.</param>
    /// <param name="experts">The number of experts.</param>
    /// <returns>
    /// The visit at each place, the place of each visit and the token at each place, (visits) int64; and where the visits of each expert end, and how
    /// many they are, (experts) int32.
    /// </returns>
    public static (Tensor Order, Tensor Inverse, Tensor Source, Tensor Ends, Tensor Loads) Sort(Tensor chosen, long experts)
    {
        long visits = chosen.NumberOfElements, choices = chosen.size(1);
        long chunk = Math.Max(MinChunk, ((visits + MaxChunks - 1) / MaxChunks + Warp - 1) / Warp * Warp), chunks = (visits + chunk - 1) / chunk;
        Tensor New(ScalarType type, params long[] shape) => CudaMemory.New(chosen, type, shape);
        using var counts = New(ScalarType.Int32, chunks, experts);
        Tensor order = New(ScalarType.Int64, visits), inverse = New(ScalarType.Int64, visits), source = New(ScalarType.Int64, visits),
            ends = New(ScalarType.Int32, experts), loads = New(ScalarType.Int32, experts);
        var arguments = new Arguments
        {
            Chosen = CudaMemory.Address(chosen), Counts = CudaMemory.Address(counts), Order = CudaMemory.Address(order),
            Inverse = CudaMemory.Address(inverse), Source = CudaMemory.Address(source), Ends = CudaMemory.Address(ends),
            Loads = CudaMemory.Address(loads), Visits = visits, Experts = experts, Choices = choices, Chunk = chunk,
        };
        int shared = sizeof(int) * (2 * (int)experts + 2 * Warp);
        var device = CudaRuntime.DeviceOf(chosen);
        device.Launch("ExpertOrder.cu", "count_visits", (chunks, 1, 1), Warp, shared, arguments);
        device.Launch("ExpertOrder.cu", "order_visits", (chunks, 1, 1), Warp, shared, arguments);
        GC.KeepAlive((chosen, counts, order, inverse, source, ends, loads));
        return (order, inverse, source, ends, loads);
    }
}
