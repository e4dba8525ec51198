using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>
/// Describes a cache of attention to which a decoding step writes keys and values in place. A position that has no slot is not stored.
/// </summary>
/// <param name="Table">
/// The cosines and sines of rotary positions, (positions, headSize / 2) float32 each, with position p in row p. Null without rotary positions.
/// </param>
/// <param name="Lengths">The number of tokens of each row, including the new ones, (batch) int32.</param>
/// <param name="Keys">The keys, (batch, slots, keyHeads, headSize).</param>
/// <param name="Values">The values, (batch, slots, keyHeads, valueSize).</param>
/// <param name="Positions">The position in each slot, (batch, slots) int64. Null if it is not needed.</param>
/// <param name="Window">The number of slots that are reused in turn, after those of the sinks; 0 if slot p contains position p.</param>
/// <param name="Sinks">The number of first positions that keep their slots.</param>
sealed record CacheTarget((Tensor Cosine, Tensor Sine)? Table, Tensor Lengths, Tensor Keys, Tensor Values, Tensor? Positions = null,
    int Window = 0, int Sinks = 0)
{
    /// <summary>Gets whether a product of a few rows can write to the cache.</summary>
    public bool IsServed => Table is { } table && Keys.dtype == ScalarType.BFloat16 && Values.dtype == ScalarType.BFloat16 && Keys.size(3) % 16 == 0
        && 2 * table.Cosine.size(1) == Keys.size(3) && table.Cosine.is_contiguous() && table.Sine.is_contiguous() && Keys.stride(3) == 1
        && Values.stride(3) == 1 && (Positions is null || Positions.stride(1) == 1);
}
