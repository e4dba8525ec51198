using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>Selects the most probable tokens on a GPU with the kernels in <c>GreedyTokens.cu</c>.</summary>
static class GreedyTokensCuda
{
    // as in GreedyTokens.cu; a candidate is a score and a number
    const int Parts = 128, Threads = 256, SharedBytes = Threads / 32 * 8;

    struct Arguments
    {
        public nint Scores, Best, At, Ids, Tokens, Finite;
        public long Count, Row;
    }

    /// <summary>Takes arguments as <see cref="Operators.GreedyTokens.Select"/>.</summary>
    public static void Select(Tensor scores, Tensor ids, Tensor result)
    {
        using var scope = NewDisposeScope();
        if (scores.stride(1) != 1) scores = scores.contiguous();
        long rows = scores.size(0);
        Tensor best = CudaMemory.New(scores, ScalarType.Float32, rows, Parts), at = CudaMemory.New(scores, ScalarType.Int32, rows, Parts);
        var arguments = new Arguments
        {
            Scores = CudaMemory.Address(scores), Best = CudaMemory.Address(best), At = CudaMemory.Address(at), Ids = CudaMemory.Address(ids),
            Tokens = CudaMemory.Address(result), Finite = CudaMemory.Address(result) + (nint)(sizeof(long) * rows), Count = scores.size(1),
            Row = scores.stride(0),
        };
        var device = CudaRuntime.DeviceOf(scores);
        device.Launch("GreedyTokens.cu", "greedy_parts", (Parts, rows, 1), Threads, SharedBytes, arguments);
        device.Launch("GreedyTokens.cu", "greedy_tokens", (rows, 1, 1), 32, 0, arguments);
        GC.KeepAlive((scores, best, at, ids, result));
    }
}
