using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda.Attention;

/// <summary>The sizes that a decoding kernel is compiled with.</summary>
/// <param name="HeadSize">The elements of a head of queries and keys, rounded up to 16 (bfloat16) or 32 (float32).</param>
/// <param name="ValueSize">The elements of a head of values, rounded up likewise.</param>
/// <param name="Rows">The queries times heads that a block takes.</param>
/// <param name="Capped">Whether scores are capped.</param>
/// <param name="WarpKeys">The keys of a warp's tile; 0 for float32.</param>
/// <param name="Stages">The tiles of a warp in shared memory; 0 for float32.</param>
readonly record struct AttentionDecodeShape(long HeadSize, long ValueSize, int Rows, bool Capped, int WarpKeys, int Stages)
{
    /// <summary>The largest head size and value size that the kernels take.</summary>
    public const long MaxSize = 256;

    /// <summary>The threads of a block.</summary>
    public const int Threads = 32 * Warps;

    // as in attention_decode.cuh
    const int Warps = 4;

    /// <summary>
    /// The keys of the smallest part of a row. A part has a few tiles for each warp: with one, blocks for many rows wait more than they compute.
    /// </summary>
    public int Unit => WarpKeys == 0 ? 64 : 256;

    /// <summary>The kernel's source with its definitions.</summary>
    public string Source
    {
        get
        {
            string common = $"DECODE_D={HeadSize} DECODE_E={ValueSize} DECODE_ROWS={Rows} DECODE_UNIT={Unit} DECODE_CAP={(Capped ? 1 : 0)}";
            return WarpKeys == 0
                ? $"AttentionDecodeFloat32.cu {common}"
                : $"AttentionDecode.cu {common} DECODE_KEYS={WarpKeys} DECODE_STAGES={Stages}";
        }
    }

    /// <summary>The kernel's name.</summary>
    public string Kernel => WarpKeys == 0 ? "attention_decode_float32" : "attention_decode";

    /// <summary>Returns the bytes of shared memory of a block whose row has up to <paramref name="maxParts"/> parts.</summary>
    public int SharedBytes(int maxParts)
    {
        int sums = Warps * Rows * ((int)ValueSize + 4 + 2), end = sums + Rows * (2 + Math.Max(Warps, maxParts));
        return Math.Max(sizeof(float) * end, TileBytes);
    }

    // a key's elements take 16 bytes more, and so do a value's
    int TileBytes => sizeof(ushort) * Warps * Stages * WarpKeys * (int)(HeadSize + ValueSize + 16);

    /// <summary>Returns the shape for <paramref name="rows"/> queries times heads of a key head.</summary>
    public static AttentionDecodeShape Create(ScalarType type, long headSize, long valueSize, long rows, bool capped, int sharedMemory)
    {
        static long Rounded(long size, int to) => (size + to - 1) / to * to;
        if (type == ScalarType.Float32)
        {
            (headSize, valueSize) = (Rounded(headSize, 32), Rounded(valueSize, 32));
            int most = (int)Math.Clamp(1024 / (headSize + valueSize), 1, 8), taken = 1;
            while (taken < most && taken < rows) taken *= 2;
            return new(headSize, valueSize, Math.Min(taken, most), capped, 0, 0);
        }
        (headSize, valueSize) = (Rounded(headSize, 16), Rounded(valueSize, 16));
        var shape = new AttentionDecodeShape(headSize, valueSize, rows > 16 && headSize + valueSize <= 256 ? 32 : 16, capped, 16, 2);
        return shape.TileBytes <= sharedMemory ? shape : shape with { Stages = 1 };
    }
}
