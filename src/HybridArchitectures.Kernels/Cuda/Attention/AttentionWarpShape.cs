using HybridArchitectures.Kernels.Runtime;

namespace HybridArchitectures.Kernels.Cuda.Attention;

/// <summary>Describes how an attention kernel whose products are those of single warps is compiled for one pair of head sizes.</summary>
/// <param name="HeadSize">The head size of queries and keys, rounded up to 16.</param>
/// <param name="ValueSize">The head size of values, rounded up to 16.</param>
/// <param name="Sinks">Whether there are attention sinks.</param>
/// <param name="Capped">Whether scores are capped.</param>
/// <param name="Warps">The number of warps of a block.</param>
/// <param name="RowTiles">The number of tiles of 16 queries of a warp.</param>
/// <param name="Tile">The number of keys that a block processes at a time.</param>
readonly record struct AttentionWarpShape(long HeadSize, long ValueSize, bool Sinks, bool Capped, int Warps, int RowTiles, int Tile)
{
    // bytes of shared memory that the driver takes for each block
    const int BlockOverhead = 1024;

    /// <summary>Gets the number of queries of a block.</summary>
    public int Rows => 16 * Warps * RowTiles;

    public int Threads => 32 * Warps;

    // a row of a tile has 16 bytes of padding
    int HeadPitch => (int)HeadSize + 8;

    int ValuePitch => (int)ValueSize + 8;

    public int Shared => sizeof(ushort) * (Rows * HeadPitch + Tile * (HeadPitch + ValuePitch)) + sizeof(int) * (Sinks ? 4 : 2) * Rows;

    /// <summary>Gets the options of the kernels.</summary>
    public KernelVariant Variant => new Options(this);

    sealed record Options(AttentionWarpShape Shape) : KernelVariant
    {
        public override string File => "AttentionWarpForward.cu";

        public override IEnumerable<(string Name, object Value)> Definitions =>
        [
            ("ATT_D", Shape.HeadSize), ("ATT_E", Shape.ValueSize), ("ATT_SINKS", Flag(Shape.Sinks)), ("ATT_CAP", Flag(Shape.Capped)),
            ("ATT_WARPS", Shape.Warps), ("ATT_ROW_TILES", Shape.RowTiles), ("ATT_TILE", Shape.Tile),
        ];
    }

    /// <summary>Returns the shape of the forward kernel for head sizes up to <see cref="AttentionShape.MaxForwardSize"/>.</summary>
    public static AttentionWarpShape Forward(long headSize, long valueSize, bool sinks, bool capped, int sharedMemory)
    {
        (headSize, valueSize) = (AttentionCall.Rounded(headSize, 16), AttentionCall.Rounded(valueSize, 16));
        // Warps of 32 queries load half as much from shared memory for each product. They need many registers, so that blocks have four of them, and
        // a second block to fill the waits of the first.
        (int Warps, int RowTiles, int Tile)[] choices = Math.Max(headSize, valueSize) <= 128 ? [(4, 2, 64), (8, 1, 64)] : [(8, 1, 64), (4, 1, 32)];
        foreach (var (warps, rowTiles, tile) in choices)
        {
            var shape = new AttentionWarpShape(headSize, valueSize, sinks, capped, warps, rowTiles, tile);
            if ((rowTiles == 1 ? shape.Shared : 2 * shape.Shared + BlockOverhead) <= sharedMemory) return shape;
        }
        throw Require.Unfit(nameof(sharedMemory), $"sharedMemory is {sharedMemory} bytes",
            $"enough for heads of {headSize} and {valueSize} elements");
    }
}
