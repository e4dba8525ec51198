using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>
/// The cache of attention to which a product of a few rows writes keys and values, as <see cref="Operators.CacheAppend"/> does. Queries and keys are
/// turned before.
/// </summary>
/// <param name="Table">Cosines and sines, (positions, headSize / 2) float32 each.</param>
/// <param name="Lengths">The number of tokens of each row, including the new ones, (batch) int32.</param>
/// <param name="Keys">(batch, slots, keyHeads, headSize) bfloat16.</param>
/// <param name="Values">(batch, slots, keyHeads, valueSize) bfloat16.</param>
/// <param name="Positions">(batch, slots) int64, or null.</param>
/// <param name="Window">The number of slots that are reused in turn, after those of the sinks; 0 if slot p contains position p.</param>
/// <param name="Sinks">The number of first positions that keep their slots.</param>
sealed record FewRowsCacheTarget((Tensor Cosine, Tensor Sine) Table, Tensor Lengths, Tensor Keys, Tensor Values, Tensor? Positions = null,
    int Window = 0, int Sinks = 0)
{
    /// <summary>Gets whether a product can write here.</summary>
    public bool IsServed => Keys.dtype == ScalarType.BFloat16 && Values.dtype == ScalarType.BFloat16 && Keys.size(3) % 16 == 0
        && 2 * Table.Cosine.size(1) == Keys.size(3) && Table.Cosine.is_contiguous() && Table.Sine.is_contiguous() && Keys.stride(3) == 1
        && Values.stride(3) == 1 && (Positions is null || Positions.stride(1) == 1);
}
