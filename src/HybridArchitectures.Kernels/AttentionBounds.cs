using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>
/// Which keys each query sees, as the attention kernels take it where keys stand in order: those from the first one of its document to one before an
/// end.
/// </summary>
static class AttentionBounds
{
    /// <summary>Queries of a row, rounded up to this.</summary>
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
