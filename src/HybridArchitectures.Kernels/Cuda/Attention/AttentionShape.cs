namespace HybridArchitectures.Kernels.Cuda.Attention;

/// <summary>The tile sizes that the attention kernels are compiled with for one pair of head sizes.</summary>
/// <param name="HeadSize">Elements of a head of queries and keys, rounded up to 16.</param>
/// <param name="ValueSize">Elements of a head of values, rounded up to 16.</param>
/// <param name="Sinks">Whether there are attention sinks.</param>
/// <param name="Capped">Whether scores are capped.</param>
/// <param name="Groups">Forward: groups of four warps, with 64 queries each.</param>
/// <param name="KeyTile">Forward: keys at a time.</param>
/// <param name="Stages">Forward: tiles of keys and of values in shared memory.</param>
/// <param name="SharedOutput">Forward: whether output and queries share their place.</param>
readonly record struct AttentionShape(long HeadSize, long ValueSize, bool Sinks, bool Capped, int Groups, int KeyTile, int Stages, bool SharedOutput)
{
    /// <summary>The largest head size that the forward kernel takes.</summary>
    public const long MaxForwardSize = 256;

    /// <summary>The largest head size that the backward kernel takes.</summary>
    public const long MaxBackwardSize = 128;

    /// <summary>Keys of a block of the backward kernel.</summary>
    public const int BackwardKeys = 128;

    /// <summary>Queries of a block of the forward kernel.</summary>
    public int Queries => 64 * Groups;

    public int ForwardThreads => 128 * (Groups + 1);

    public int ForwardShared
    {
        get
        {
            int query = Tiles(HeadSize) * Queries * 64, output = Tiles(ValueSize) * Queries * 64, front = SharedOutput ? Math.Max(query, output)
                : query + output;
            int cards = 8 + 8 * Groups + BoundInts * Queries;
            return sizeof(ushort) * (front + Stages * (Tiles(HeadSize) + Tiles(ValueSize)) * KeyTile * 64) + sizeof(int) * 2 * cards
                + sizeof(long) * (6 + 4 * Stages) + Alignment;
        }
    }

    /// <summary>Queries that the backward kernel takes at a time.</summary>
    public int QueryTile => HeadSize <= 64 && ValueSize <= 64 ? 128 : 64;

    /// <summary>Float32 sums of a block of queries.</summary>
    public long SumsSize => QueryTile * (QueryTile == BackwardKeys ? HeadSize : 64 * Tiles(HeadSize));

    public int BackwardThreads => 384;

    public int BackwardShared
    {
        get
        {
            int sizes = Tiles(HeadSize) + Tiles(ValueSize), tiles = sizes * (BackwardKeys + 2 * QueryTile) + 2 * (BackwardKeys / 64) * QueryTile,
                cards = 8 + BoundInts * QueryTile;
            return sizeof(ushort) * 64 * tiles + sizeof(float) * ((int)SumsSize + 4 * QueryTile) + sizeof(int) * (2 * cards + 2) + sizeof(long) * 12
                + Alignment;
        }
    }

    // tiles begin at a multiple of this many bytes
    const int Alignment = 1024;

    int BoundInts => Sinks ? 4 : 2;

    /// <summary>The forward kernels' source with its definitions.</summary>
    public string Forward =>
        $"AttentionForward.cu ATT_D={HeadSize} ATT_E={ValueSize} ATT_SINKS={(Sinks ? 1 : 0)} ATT_CAP={(Capped ? 1 : 0)} ATT_GROUPS={Groups} "
        + $"ATT_TILE={KeyTile} ATT_STAGES={Stages} ATT_REGISTERS={(Groups == 3 ? 160 : 240)} ATT_FEW_REGISTERS={(Groups == 3 ? 32 : 24)} "
        + $"ATT_SHARED_OUTPUT={(SharedOutput ? 1 : 0)}";

    /// <summary>The backward kernels' source with its definitions.</summary>
    public string Backward =>
        $"AttentionBackward.cu ATT_D={HeadSize} ATT_E={ValueSize} ATT_SINKS={(Sinks ? 1 : 0)} ATT_CAP={(Capped ? 1 : 0)} ATT_TILE={QueryTile}";

    /// <summary>The shape for head sizes up to <see cref="MaxForwardSize"/>.</summary>
    public static AttentionShape For(long headSize, long valueSize, bool sinks, bool capped, int sharedMemory)
    {
        (headSize, valueSize) = ((headSize + 15) / 16 * 16, (valueSize + 15) / 16 * 16);
        long largest = Math.Max(headSize, valueSize);
        foreach (var (stages, sharedOutput) in new[] { (4, false), (3, false), (2, false), (2, true) })
        {
            var shape = new AttentionShape(headSize, valueSize, sinks, capped, largest <= 64 ? 3 : 2, largest <= 128 ? 128 : 64, stages,
                sharedOutput);
            if (shape.ForwardShared <= sharedMemory) return shape;
        }
        throw Require.Unfit(nameof(sharedMemory), $"sharedMemory is {sharedMemory} bytes",
            $"enough for heads of {headSize} and {valueSize} elements");
    }

    static int Tiles(long size) => (int)(size + 63) / 64;
}
