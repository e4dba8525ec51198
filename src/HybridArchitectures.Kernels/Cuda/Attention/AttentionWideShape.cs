using HybridArchitectures.Kernels.Runtime;

namespace HybridArchitectures.Kernels.Cuda.Attention;

/// <summary>
/// Describes how the kernels for the gradients of wide heads, of which a side has more than <see cref="AttentionShape.MaxNarrowGradientSize"/>
/// elements, are compiled for one pair of head sizes.
/// </summary>
/// <param name="HeadSize">The head size of queries and keys, rounded up to 16.</param>
/// <param name="ValueSize">The head size of values, rounded up to 16.</param>
/// <param name="Sinks">Whether there are attention sinks.</param>
/// <param name="Capped">Whether scores are capped.</param>
/// <param name="OfKeys">Whether the kernel computes the gradients of keys and values. Otherwise, it computes those of queries.</param>
/// <param name="Rows">The number of keys of a block, or of queries for their gradients.</param>
/// <param name="Tile">The number of rows of the other tensors that a block processes at a time.</param>
/// <param name="Stages">The number of tiles of the other tensors in shared memory.</param>
readonly record struct AttentionWideShape(long HeadSize, long ValueSize, bool Sinks, bool Capped, bool OfKeys, int Rows, int Tile, int Stages)
{
    const int Warps = 8;

    // Up to this head size, 128 queries and 64 keys at a time fit the registers of a thread.
    const long MaxSizeOfLargeSteps = 192;

    /// <summary>Gets the number of tiles of 16 rows for which a warp computes scores. Four warps share the scores of a step.</summary>
    public int RowTiles => Rows * Tile <= 64 * 16 ? 1 : 2;

    // elements of a row of keys and its values, each with 16 bytes of padding
    int PairPitch => (int)(HeadSize + ValueSize) + 16;

    int BoundBytes => sizeof(int) * (Sinks ? 4 : 2);

    // the tile of scores in bfloat16
    int ScoreBytes => sizeof(ushort) * Rows * (Tile + 8);

    int SharedMemory
    {
        get
        {
            int tensors = sizeof(ushort) * (Rows + Stages * Tile) * PairPitch;
            return OfKeys ? tensors + 2 * ScoreBytes + Stages * Tile * (2 * sizeof(float) + BoundBytes) : tensors + ScoreBytes + Rows * BoundBytes;
        }
    }

    /// <summary>Gets what the launch of the kernel needs.</summary>
    public AttentionGradientKernel Kernel => new(new Options(this), Rows, Tile, 32 * Warps, SharedMemory);

    sealed record Options(AttentionWideShape Shape) : KernelVariant
    {
        public override string File => Shape.OfKeys ? "AttentionWideKeyGradients.cu" : "AttentionWideQueryGradients.cu";

        public override IEnumerable<(string Name, object Value)> Definitions =>
        [
            ("ATT_D", Shape.HeadSize), ("ATT_E", Shape.ValueSize), ("ATT_SINKS", Flag(Shape.Sinks)), ("ATT_CAP", Flag(Shape.Capped)),
            ("ATT_WARPS", Warps), ("ATT_ROW_TILES", Shape.RowTiles), ("ATT_ROWS", Shape.Rows), ("ATT_TILE", Shape.Tile),
            ("ATT_STAGES", Shape.Stages),
        ];
    }

    /// <summary>
    /// Returns the shape of the kernel for the gradients of keys and values, for head sizes up to <see cref="AttentionShape.MaxSize"/>.
    /// </summary>
    public static AttentionWideShape Keys(long headSize, long valueSize, bool sinks, bool capped, int sharedMemory) =>
        First(new(headSize, valueSize, sinks, capped, true, 0, 0, 0), sharedMemory, [(64, 64, 2), (64, 32, 2), (64, 16, 2), (64, 16, 1)]);

    /// <summary>
    /// Returns the shape of the kernel for the gradients of queries, for head sizes up to <see cref="AttentionShape.MaxSize"/>.
    /// </summary>
    public static AttentionWideShape Queries(long headSize, long valueSize, bool sinks, bool capped, int sharedMemory)
    {
        ReadOnlySpan<(int, int, int)> choices = [(128, 64, 2), (128, 32, 2), (64, 32, 2), (64, 16, 2), (64, 16, 1)];
        return First(new(headSize, valueSize, sinks, capped, false, 0, 0, 0), sharedMemory, choices[(headSize <= MaxSizeOfLargeSteps ? 0 : 1)..]);
    }

    // the first choice that fits: larger steps read less for each product
    static AttentionWideShape First(AttentionWideShape sizes, int sharedMemory, ReadOnlySpan<(int Rows, int Tile, int Stages)> choices)
    {
        sizes = sizes with { HeadSize = AttentionCall.Rounded(sizes.HeadSize, 16), ValueSize = AttentionCall.Rounded(sizes.ValueSize, 16) };
        foreach (var (rows, tile, stages) in choices)
        {
            var shape = sizes with { Rows = rows, Tile = tile, Stages = stages };
            if (shape.SharedMemory <= sharedMemory) return shape;
        }
        throw Require.Unfit(nameof(sharedMemory), $"sharedMemory is {sharedMemory} bytes",
            $"enough for heads of {sizes.HeadSize} and {sizes.ValueSize} elements");
    }
}
