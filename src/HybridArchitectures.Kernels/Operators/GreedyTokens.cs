using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Operators;

/// <summary>Selects the most probable token of each row on the device, without a number from the host.</summary>
static class GreedyTokens
{
    /// <summary>Writes the tokens of scores.</summary>
    /// <param name="scores">(rows, count) float32.</param>
    /// <param name="ids">(rows, 1) int64, contiguous, which receives the number of the largest score, the lowest of equal ones.</param>
    /// <param name="result">(2, rows) int64, contiguous, which receives the same numbers, and 1 where the score is finite, otherwise 0.</param>
    public static void Select(Tensor scores, Tensor ids, Tensor result)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        if (scores.dtype == ScalarType.Float32 && (scores.device_type == DeviceType.CUDA || CudaRuntime.Emulated))
        {
            GreedyTokensCuda.Select(scores, ids, result);
            return;
        }
        var (values, indices) = scores.max(1);
        ids.copy_(indices.unsqueeze(1));
        result.select(0, 0).copy_(indices);
        result.select(0, 1).copy_(values.isfinite());
    }
}
