using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda.Attention;

/// <summary>Describes how a decoding kernel is compiled.</summary>
/// <param name="HeadSize">The number of elements of a head of queries and keys, rounded up to 16 (bfloat16) or 32 (float32).</param>
/// <param name="ValueSize">The number of elements of a head of values, rounded up likewise.</param>
/// <param name="Rows">The number of queries times heads that a block processes.</param>
/// <param name="Capped">Whether scores are capped.</param>
/// <param name="WarpKeys">The number of keys of the tile of a warp; 0 for float32.</param>
/// <param name="Stages">The number of tiles of a warp in shared memory; 0 for float32.</param>
/// <param name="Unit">The number of keys of the smallest part of a row.</param>
/// <param name="Ahead">The number of parts whose sums a thread loads at a time, if a row has between 5 and 32 parts.</param>
readonly record struct AttentionDecodeShape(long HeadSize, long ValueSize, int Rows, bool Capped, int WarpKeys, int Stages, int Unit, int Ahead)
{
    /// <summary>Specifies the maximum head size and value size of the kernels.</summary>
    public const long MaxSize = 256;

    /// <summary>Specifies the number of threads of a block.</summary>
    public const int Threads = 32 * Warps;

    /// <summary>
    /// The maximum number of rows for which parts are small. The time of a few rows is that of latencies. With many rows, blocks with few tiles per
    /// warp would wait more than they compute.
    /// </summary>
    public const long MaxFewRows = 16;

    // as in attention_decode.cuh
    const int Warps = 4;

    // the number of keys of the smallest part of a row
    const int FewRowsUnit = 128, ManyRowsUnit = 256, Float32Unit = 64;

    // All parts of one row at a time wait once for memory, but take registers that blocks of many rows need.
    const int FewPartsAhead = 16, MorePartsAhead = 32;

    /// <summary>Gets the source of the kernel with its options.</summary>
    public KernelVariant Variant => new Options(this);

    sealed record Options(AttentionDecodeShape Shape) : KernelVariant
    {
        public override string File => Shape.WarpKeys == 0 ? "AttentionDecodeFloat32.cu" : "AttentionDecode.cu";

        public override IEnumerable<(string Name, object Value)> Definitions
        {
            get
            {
                (string, object)[] common = [("DECODE_D", Shape.HeadSize), ("DECODE_E", Shape.ValueSize), ("DECODE_ROWS", Shape.Rows),
                    ("DECODE_UNIT", Shape.Unit), ("DECODE_CAP", Flag(Shape.Capped)), ("DECODE_AHEAD", Shape.Ahead)];
                return Shape.WarpKeys == 0 ? common : [.. common, ("DECODE_KEYS", Shape.WarpKeys), ("DECODE_STAGES", Shape.Stages)];
            }
        }
    }

    /// <summary>Gets the name of the kernel.</summary>
    public string Kernel => WarpKeys == 0 ? "attention_decode_float32" : "attention_decode";

    /// <summary>Returns the bytes of shared memory of a block whose row has up to <paramref name="maxParts"/> parts.</summary>
    public int SharedBytes(int maxParts)
    {
        int sums = Warps * Rows * ((int)ValueSize + 4 + 2), end = sums + Rows * (2 + Math.Max(Warps, maxParts));
        return Math.Max(sizeof(float) * end, TileBytes);
    }

    // each key and each value has 16 bytes of padding
    int TileBytes => sizeof(ushort) * Warps * Stages * WarpKeys * (int)(HeadSize + ValueSize + 16);

    /// <summary>
    /// Returns the shape for <paramref name="batch"/> rows and <paramref name="rows"/> queries times heads of a key head. It is the same for all
    /// batches up to <see cref="MaxFewRows"/>, and for all larger ones.
    /// </summary>
    public static AttentionDecodeShape Create(ScalarType type, long headSize, long valueSize, long batch, long rows, bool capped, int sharedMemory)
    {
        static long Rounded(long size, int to) => (size + to - 1) / to * to;
        if (type == ScalarType.Float32)
        {
            (headSize, valueSize) = (Rounded(headSize, 32), Rounded(valueSize, 32));
            int max = (int)Math.Clamp(1024 / (headSize + valueSize), 1, 8), blockRows = 1;
            while (blockRows < max && blockRows < rows) blockRows *= 2;
            return new(headSize, valueSize, Math.Min(blockRows, max), capped, 0, 0, Float32Unit, FewPartsAhead);
        }
        (headSize, valueSize) = (Rounded(headSize, 16), Rounded(valueSize, 16));
        int groupRows = rows > 16 && headSize + valueSize <= 256 ? 32 : 16;
        bool few = batch <= MaxFewRows;
        var shape = new AttentionDecodeShape(headSize, valueSize, groupRows, capped, 16, 2, few ? FewRowsUnit : ManyRowsUnit,
            few ? MorePartsAhead : FewPartsAhead);
        return shape.TileBytes <= sharedMemory ? shape : shape with { Stages = 1 };
    }

    /// <summary>
    /// Returns the shape with as many tiles ahead as fit if all blocks run at the same time, and otherwise the same shape. Results do not depend on
    /// it.
    /// </summary>
    public AttentionDecodeShape Deeper(long blocks, int multiprocessors, int sharedMemory)
    {
        const int ReservedBytes = 1024, MaxStages = 4;      // of each block and once per multiprocessor
        if (WarpKeys == 0) return this;
        for (int stages = MaxStages; stages > Stages; stages--)
        {
            var deeper = this with { Stages = stages };
            if (blocks <= multiprocessors * ((sharedMemory + ReservedBytes) / (deeper.TileBytes + ReservedBytes))) return deeper;
        }
        return this;
    }
}
