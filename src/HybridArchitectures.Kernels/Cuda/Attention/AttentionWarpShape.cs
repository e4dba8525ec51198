using HybridArchitectures.Kernels.Runtime;

namespace HybridArchitectures.Kernels.Cuda.Attention;

/// <summary>Describes how attention kernels whose products are those of single warps are compiled for one pair of head sizes.</summary>
/// <param name="HeadSize">The head size of queries and keys, rounded up to 16.</param>
/// <param name="ValueSize">The head size of values, rounded up to 16.</param>
/// <param name="Sinks">Whether there are attention sinks.</param>
/// <param name="Capped">Whether scores are capped.</param>
/// <param name="Warps">The number of warps of a block.</param>
/// <param name="RowTiles">The number of tiles of 16 rows (queries, or keys for their gradients) of a warp.</param>
/// <param name="Tile">The number of rows of the other tensors that a block processes at a time.</param>
/// <param name="Stages">The number of tiles of the other tensors in shared memory; 0 for the forward kernel.</param>
readonly record struct AttentionWarpShape(long HeadSize, long ValueSize, bool Sinks, bool Capped, int Warps, int RowTiles, int Tile, int Stages)
{
    // bytes of shared memory that the driver takes for each block
    const int BlockOverhead = 1024;

    /// <summary>Gets the number of rows of a block.</summary>
    public int Rows => 16 * Warps * RowTiles;

    public int Threads => 32 * Warps;

    // elements of a row of keys and its values, each with 16 bytes of padding
    int PairPitch => (int)(HeadSize + ValueSize) + 16;

    int BoundBytes => sizeof(int) * (Sinks ? 4 : 2);

    public int ForwardShared => sizeof(ushort) * (Rows * ((int)HeadSize + 8) + Tile * PairPitch) + BoundBytes * Rows;

    /// <summary>Gets the kernel for the gradients of keys and values.</summary>
    public AttentionGradientKernel KeyGradients => new(Variant, Rows, Tile, Threads,
        sizeof(ushort) * Rows * PairPitch + Stages * Tile * (sizeof(ushort) * PairPitch + 2 * sizeof(float) + BoundBytes));

    /// <summary>Gets the kernel for the gradients of queries.</summary>
    public AttentionGradientKernel QueryGradients => new(Variant, Rows, Tile, Threads,
        sizeof(ushort) * (Rows + Stages * Tile) * PairPitch + BoundBytes * Rows);

    /// <summary>Gets the options of the kernels.</summary>
    public KernelVariant Variant => new Options(this);

    sealed record Options(AttentionWarpShape Shape) : KernelVariant
    {
        public override string File => Shape.Stages == 0 ? "AttentionWarpForward.cu" : "AttentionWarpBackward.cu";

        public override IEnumerable<(string Name, object Value)> Definitions
        {
            get
            {
                (string, object)[] common = [("ATT_D", Shape.HeadSize), ("ATT_E", Shape.ValueSize), ("ATT_SINKS", Flag(Shape.Sinks)),
                    ("ATT_CAP", Flag(Shape.Capped)), ("ATT_WARPS", Shape.Warps), ("ATT_ROW_TILES", Shape.RowTiles), ("ATT_TILE", Shape.Tile)];
                return Shape.Stages == 0 ? common : [.. common, ("ATT_STAGES", Shape.Stages)];
            }
        }
    }

    /// <summary>Returns the shape of the forward kernel for head sizes up to <see cref="AttentionShape.MaxSize"/>.</summary>
    public static AttentionWarpShape Forward(long headSize, long valueSize, bool sinks, bool capped, int sharedMemory) =>
        First(headSize, valueSize, sinks, capped, sharedMemory, Math.Max(headSize, valueSize) <= 128
            ? [(4, 2, 64, 0), (8, 1, 64, 0)]
            : [(8, 1, 64, 0), (4, 1, 32, 0)]);

    /// <summary>Returns the shape of the backward kernels for head sizes up to <see cref="AttentionShape.MaxNarrowGradientSize"/>.</summary>
    public static AttentionWarpShape Backward(long headSize, long valueSize, bool sinks, bool capped, int sharedMemory) =>
        First(headSize, valueSize, sinks, capped, sharedMemory, Math.Max(headSize, valueSize) <= 64
            ? [(4, 2, 32, 2), (8, 1, 64, 2)]
            : [(8, 1, 64, 2), (8, 1, 32, 2), (8, 1, 32, 1)]);

    // The first choice that fits. Warps of 32 rows load half as much from shared memory for each product. They need many registers, so that blocks
    // have four of them, and a second block to fill the waits of the first.
    static AttentionWarpShape First(long headSize, long valueSize, bool sinks, bool capped, int sharedMemory,
        ReadOnlySpan<(int Warps, int RowTiles, int Tile, int Stages)> choices)
    {
        (headSize, valueSize) = (AttentionCall.Rounded(headSize, 16), AttentionCall.Rounded(valueSize, 16));
        foreach (var (warps, rowTiles, tile, stages) in choices)
        {
            var shape = new AttentionWarpShape(headSize, valueSize, sinks, capped, warps, rowTiles, tile, stages);
            int bytes = stages == 0 ? shape.ForwardShared : Math.Max(shape.KeyGradients.SharedMemory, shape.QueryGradients.SharedMemory);
            if ((rowTiles == 1 ? bytes : 2 * bytes + BlockOverhead) <= sharedMemory) return shape;
        }
        throw Require.Unfit(nameof(sharedMemory), $"sharedMemory is {sharedMemory} bytes",
            $"enough for heads of {headSize} and {valueSize} elements");
    }
}
