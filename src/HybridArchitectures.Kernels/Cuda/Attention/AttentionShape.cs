using HybridArchitectures.Kernels.Runtime;

namespace HybridArchitectures.Kernels.Cuda.Attention;

/// <summary>Contains the tile sizes with which the attention kernels are compiled for one pair of head sizes.</summary>
/// <param name="HeadSize">The head size of queries and keys, rounded up to 16.</param>
/// <param name="ValueSize">The head size of values, rounded up to 16.</param>
/// <param name="Sinks">Whether there are attention sinks.</param>
/// <param name="Capped">Whether scores are capped.</param>
/// <param name="Groups">The number of groups of four warps of the forward kernel, with 64 queries each.</param>
/// <param name="KeyTile">The number of keys that the forward kernel processes at a time.</param>
/// <param name="Stages">The number of tiles of keys and of values of the forward kernel in shared memory.</param>
/// <param name="SharedOutput">Whether output and queries of the forward kernel share a buffer.</param>
readonly record struct AttentionShape(long HeadSize, long ValueSize, bool Sinks, bool Capped, int Groups, int KeyTile, int Stages, bool SharedOutput)
{
    /// <summary>Specifies the maximum head size of the kernels.</summary>
    public const long MaxSize = 256;

    /// <summary>
    /// Specifies the maximum head size of the backward kernel and of that of single warps. <see cref="AttentionWideShape"/> describes the kernels for
    /// larger heads.
    /// </summary>
    public const long MaxNarrowGradientSize = 128;

    /// <summary>Specifies the number of keys of a block of the backward kernel.</summary>
    public const int BackwardKeys = 128;

    /// <summary>Returns whether the gradients of these head sizes are computed by the kernels for wide heads.</summary>
    public static bool IsWide(long headSize, long valueSize) => Math.Max(headSize, valueSize) > MaxNarrowGradientSize;

    /// <summary>Gets the number of queries of a block of the forward kernel.</summary>
    public int Queries => 64 * Groups;

    public int ForwardThreads => 128 * (Groups + 1);

    public int ForwardShared
    {
        get
        {
            int query = Tiles(HeadSize) * Queries * 64, output = Tiles(ValueSize) * Queries * 64, front = SharedOutput ? Math.Max(query, output)
                : query + output;
            int recordInts = 8 + 8 * Groups + BoundInts * Queries;
            return sizeof(ushort) * (front + Stages * (Tiles(HeadSize) + Tiles(ValueSize)) * KeyTile * 64) + sizeof(int) * 2 * recordInts
                + sizeof(long) * (6 + 4 * Stages) + Alignment;
        }
    }

    /// <summary>Gets the number of queries that the backward kernel processes at a time.</summary>
    public int QueryTile => HeadSize <= 64 && ValueSize <= 64 ? 128 : 64;

    /// <summary>Gets the number of float32 sums of a block of queries.</summary>
    public long SumsSize => QueryTile * (QueryTile == BackwardKeys ? HeadSize : 64 * Tiles(HeadSize));

    public int BackwardThreads => 384;

    public int BackwardShared
    {
        get
        {
            int sizes = Tiles(HeadSize) + Tiles(ValueSize), tiles = sizes * (BackwardKeys + 2 * QueryTile) + 2 * (BackwardKeys / 64) * QueryTile,
                recordInts = 8 + BoundInts * QueryTile;
            return sizeof(ushort) * 64 * tiles + sizeof(float) * ((int)SumsSize + 4 * QueryTile)
                + sizeof(int) * (2 * recordInts + 2) + sizeof(long) * 12
                + Alignment;
        }
    }

    // tiles begin at multiples of this number of bytes
    const int Alignment = 1024;

    int BoundInts => Sinks ? 4 : 2;

    /// <summary>Gets the options of the forward kernels.</summary>
    public KernelVariant Forward => new ForwardOptions(this);

    /// <summary>Gets the options of the backward kernels.</summary>
    public KernelVariant Backward => new BackwardOptions(HeadSize, ValueSize, Sinks, Capped, QueryTile);

    sealed record ForwardOptions(AttentionShape Shape) : KernelVariant
    {
        public override string File => "AttentionForward.cu";

        public override IEnumerable<(string Name, object Value)> Definitions =>
        [
            ("ATT_D", Shape.HeadSize), ("ATT_E", Shape.ValueSize), ("ATT_SINKS", Flag(Shape.Sinks)), ("ATT_CAP", Flag(Shape.Capped)),
            ("ATT_GROUPS", Shape.Groups), ("ATT_TILE", Shape.KeyTile), ("ATT_STAGES", Shape.Stages),
            ("ATT_REGISTERS", Shape.Groups == 3 ? 160 : 240), ("ATT_FEW_REGISTERS", Shape.Groups == 3 ? 32 : 24),
            ("ATT_SHARED_OUTPUT", Flag(Shape.SharedOutput)),
        ];
    }

    sealed record BackwardOptions(long HeadSize, long ValueSize, bool Sinks, bool Capped, int QueryTile) : KernelVariant
    {
        public override string File => "AttentionBackward.cu";

        public override IEnumerable<(string Name, object Value)> Definitions =>
        [
            ("ATT_D", HeadSize), ("ATT_E", ValueSize), ("ATT_SINKS", Flag(Sinks)), ("ATT_CAP", Flag(Capped)), ("ATT_TILE", QueryTile),
        ];
    }

    /// <summary>Returns the shape for head sizes up to <see cref="MaxSize"/>.</summary>
    public static AttentionShape For(long headSize, long valueSize, bool sinks, bool capped, int sharedMemory)
    {
        (headSize, valueSize) = ((headSize + 15) / 16 * 16, (valueSize + 15) / 16 * 16);
        long maxSize = Math.Max(headSize, valueSize);
        foreach (var (stages, sharedOutput) in new[] { (4, false), (3, false), (2, false), (2, true) })
        {
            var shape = new AttentionShape(headSize, valueSize, sinks, capped, maxSize <= 64 ? 3 : 2, maxSize <= 128 ? 128 : 64, stages,
                sharedOutput);
            if (shape.ForwardShared <= sharedMemory) return shape;
        }
        throw Require.Unfit(nameof(sharedMemory), $"sharedMemory is {sharedMemory} bytes",
            $"enough for heads of {headSize} and {valueSize} elements");
    }

    static int Tiles(long size) => (int)(size + 63) / 64;
}
