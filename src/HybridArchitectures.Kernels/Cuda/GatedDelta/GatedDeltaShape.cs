using HybridArchitectures.Kernels.Runtime;

namespace HybridArchitectures.Kernels.Cuda.GatedDelta;

/// <summary>Describes how the kernels of the gated delta rule are compiled for one shape.</summary>
/// <param name="KeySize">The number of elements of a key, a multiple of 8 up to <see cref="MaxSize"/>.</param>
/// <param name="ValueSize">The number of elements of a value, a multiple of 8 up to <see cref="MaxSize"/>.</param>
/// <param name="Grouped">Whether four warps multiply together, which needs compute capability 9.0.</param>
/// <param name="Slices">The number of groups of four warps of a block of a scan, each with 64 elements of the values.</param>
/// <param name="Form">Which recurrence the kernels compute.</param>
sealed record GatedDeltaShape(long KeySize, long ValueSize, bool Grouped, int Slices, GatedDeltaForm Form)
{
    /// <summary>Specifies the number of tokens of a chunk.</summary>
    public const int Chunk = 64;

    /// <summary>Specifies the maximum size of a head.</summary>
    public const long MaxSize = 128;

    // as in gated_delta.cuh: bytes of a tile, floats of a row of a matrix that is solved, bytes of the numbers of a chunk, alignment of tiles
    const int Tile = Chunk * Chunk * sizeof(ushort), Pitch = 68, NumbersBytes = (6 * Chunk + 4) * sizeof(float), Alignment = 1024;

    // as in channel_delta.cuh: bytes of the decays, strengths and documents of a chunk
    int ChannelNumbersBytes => (Chunk * (64 * KeyTiles + 8) + 2 * Chunk) * sizeof(float);

    /// <summary>Gets whether each element of a key has a separate decay.</summary>
    public bool Channels => Form != GatedDeltaForm.HeadDecays;

    /// <summary>Gets whether tokens write what their values lack of the state.</summary>
    public bool Corrects => Form != GatedDeltaForm.LinearAttention;

    int KeyTiles => (int)(KeySize + 63) / 64;

    int ValueTiles => (int)(ValueSize + 63) / 64;

    /// <summary>Gets the number of blocks that share the values of a head in a scan.</summary>
    public int ValueBlocks => (ValueTiles + Slices - 1) / Slices;

    /// <summary>Gets the number of threads of a block of a scan. With products of four warps, four more warps copy.</summary>
    public int ScanThreads => 128 * (Slices + (Grouped ? 1 : 0));

    public int PairThreads => 128 * KeyTiles;

    public int PrepareShared => Alignment + (Channels
        ? Math.Max(2 * KeyTiles * Tile, Tile + Chunk * Pitch * sizeof(float)) + ChannelNumbersBytes
        : Math.Max(2 * KeyTiles * Tile, 2 * Chunk * Pitch * sizeof(float)) + NumbersBytes);

    // tiles of a stage of a scan, and those on their way out
    int StageTiles => (Form == GatedDeltaForm.ChannelDecays ? 3 : 2) * KeyTiles + (Corrects ? 2 : 1) + Slices;

    int OutputTiles => Grouped ? Slices * (KeyTiles + 1) : 0;

    public int ScanShared => Alignment + 2 * (StageTiles + OutputTiles) * Tile + 2 * 2 * Chunk * sizeof(float);

    public int PairShared => Alignment + (2 * KeyTiles + 3 * ValueTiles + 2 * KeyTiles * ValueTiles + 2) * Tile
        + (Channels ? 9 * KeyTiles * Chunk * sizeof(float) + ChannelNumbersBytes
            : ((10 + 3 * KeyTiles) * Chunk + 12) * sizeof(float) + NumbersBytes);

    /// <summary>Gets the source that solves the triangular systems.</summary>
    public GatedDeltaSource Prepare => Channels ? GatedDeltaSource.ChannelPrepare : GatedDeltaSource.Prepare;

    /// <summary>Gets the source that computes the gradients within chunks.</summary>
    public GatedDeltaSource Pairs => Channels ? GatedDeltaSource.ChannelPairs : GatedDeltaSource.Pairs;

    /// <summary>Returns a source with its options.</summary>
    public KernelVariant Variant(GatedDeltaSource source) => new Options(this, source);

    sealed record Options(GatedDeltaShape Shape, GatedDeltaSource Source) : KernelVariant
    {
        public override string File => $"GatedDelta{Source}.cu";

        public override IEnumerable<(string Name, object Value)> Definitions =>
        [
            ("DELTA_K", Shape.KeySize), ("DELTA_V", Shape.ValueSize), ("DELTA_GROUPED", Flag(Shape.Grouped)), ("DELTA_SLICES", Shape.Slices),
            ("DELTA_CHANNELS", Flag(Shape.Channels)), ("DELTA_CORRECTS", Flag(Shape.Corrects)),
        ];
    }

    /// <summary>Returns the shape for heads of these sizes, or null if the kernels do not support them on such a GPU.</summary>
    /// <param name="keySize">The number of elements of a key.</param>
    /// <param name="valueSize">The number of elements of a value.</param>
    /// <param name="manyHeads">Whether there are enough rows of heads to fill the GPU with whole heads.</param>
    /// <param name="capability">The compute capability of the GPU, for example 90.</param>
    /// <param name="sharedMemory">The maximum number of bytes of shared memory of a block.</param>
    /// <param name="form">Which recurrence the kernels compute.</param>
    public static GatedDeltaShape? For(
        long keySize, long valueSize, bool manyHeads, int capability, int sharedMemory, GatedDeltaForm form = GatedDeltaForm.HeadDecays)
    {
        bool Fits(long size) => size is > 0 and <= MaxSize && size % 8 == 0;
        if (!Fits(keySize) || !Fits(valueSize)) return null;
        var shape = new GatedDeltaShape(keySize, valueSize, capability == 90, manyHeads && capability != 90 && valueSize > 64 ? 2 : 1, form);
        return Math.Max(shape.PairShared, Math.Max(shape.ScanShared, shape.PrepareShared)) <= sharedMemory ? shape : null;
    }
}
