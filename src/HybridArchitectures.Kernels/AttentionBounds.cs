using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>
/// Describes which keys each query sees if keys are in order, as the attention kernels expect it: those from the first key of its document up to an
/// end.
/// </summary>
static class AttentionBounds
{
    /// <summary>The multiple to which the number of queries of a row is rounded up.</summary>
    public const int Block = 64;

    /// <summary>
    /// Packs begins and ends, both (batch, queries) int64, into (batch, queries rounded up to 64, 2) int32. Queries past the last one see nothing.
    /// </summary>
    public static Tensor Pack(Tensor begins, Tensor ends)
    {
        using var scope = NewDisposeScope();
        long queries = begins.size(1), room = (queries + Block - 1) / Block * Block;
        var pairs = stack([begins, ends], -1).to(ScalarType.Int32);
        return (room == queries ? pairs : nn.functional.pad(pairs, [0, 0, 0, room - queries])).MoveToOuterDisposeScope();
    }
}
