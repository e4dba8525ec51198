using HybridArchitectures.Kernels.Runtime;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>Specifies what follows a product of a few rows in the same launch.</summary>
enum FewRowsAfter
{
    /// <summary>Adds a residual, if there is one.</summary>
    Sum,

    /// <summary>Queries and keys are rotated, and keys and values are written to the cache.</summary>
    Cache,

    /// <summary>Applies a convolution.</summary>
    Convolution,
}

/// <summary>Describes how <c>FewRowsLinear.cu</c> is compiled.</summary>
/// <param name="Tiles">The number of groups of 8 rows.</param>
/// <param name="IsGated">Whether two weights are gate and up of silu(gate) * up.</param>
/// <param name="IsIndexed">Whether every row selects one of several weights.</param>
/// <param name="Norm">The norm of the input.</param>
/// <param name="After">The computation that follows the product.</param>
/// <param name="Taps">The width of a convolution.</param>
/// <param name="Depth">The number of rounds that are copied ahead.</param>
/// <param name="IsStored">Whether shared memory contains x.</param>
readonly record struct FewRowsShape(int Tiles, bool IsGated, bool IsIndexed, FewRowsNorm Norm, FewRowsAfter After, int Taps, int Depth,
    bool IsStored)
{
    /// <summary>Specifies the name of the kernel.</summary>
    public const string Kernel = "few_rows";

    /// <summary>Specifies the number of threads of a block.</summary>
    public const int Threads = 32 * Warps;

    /// <summary>The number of outputs that a block computes at a time.</summary>
    public const int Outputs = 16;

    // as in FewRowsLinear.cu
    const int Warps = 8, RowsPerTile = 8, Padding = 32, MaxRows = 16, RoundInputs = 64 * Warps,
        RoundBytes = 2 * Outputs * RoundInputs, MinDepth = 2;

    // With fewer rounds under way in each of two blocks on a multiprocessor, one block with more rounds is faster. More rounds than the maximum are
    // not faster.
    const int MinSharedDepth = 5, MaxDepth = 12, BlocksTogether = 2;

    // the shared memory that the system reserves for a block, and that of a usual product of one row
    const int ReservedBytes = 1024, UsualBytes = 6 * RoundBytes + 12 * 1024;

    /// <summary>Gets the source of the kernel with its options.</summary>
    public KernelVariant Variant => new Options(this);

    sealed record Options(FewRowsShape Shape) : KernelVariant
    {
        public override string File => "FewRowsLinear.cu";

        public override IEnumerable<(string Name, object Value)> Definitions =>
        [
            ("FEW_TILES", Shape.Tiles), ("FEW_GATED", Flag(Shape.IsGated)), ("FEW_NORM", (int)Shape.Norm), ("FEW_AFTER", (int)Shape.After),
            ("FEW_TAPS", Shape.Taps), ("FEW_INDEX", Flag(Shape.IsIndexed)), ("FEW_DEPTH", Shape.Depth), ("FEW_STORED", Flag(Shape.IsStored)),
        ];
    }

    /// <summary>Returns the bytes of shared memory of a block.</summary>
    public long SharedBytes(long rows, long inputs)
    {
        int parts = IsGated ? 2 : 1;
        long sums = sizeof(float) * (long)(parts * Tiles * Warps * Outputs * RowsPerTile + MaxRows * Warps);
        return (long)Depth * parts * RoundBytes + sums + 2 * (IsIndexed ? 1 : IsStored ? rows : 0) * ((inputs + 63) / 64 * 64 + Padding);
    }

    /// <summary>Returns the shape for a product, with the smallest depth; null if a block has too little shared memory.</summary>
    public static FewRowsShape? For(long rows, long inputs, bool gated, bool indexed, in FewRowsFusion fusion, long sharedMemory)
    {
        var after = fusion switch
        {
            { Cache: not null } => FewRowsAfter.Cache,
            { Convolution: not null } => FewRowsAfter.Convolution,
            _ => FewRowsAfter.Sum,
        };
        int taps = fusion.Convolution is { } convolution ? (int)convolution.Weight.size(1) : 2;
        var shape = new FewRowsShape(indexed || rows <= RowsPerTile ? 1 : 2, gated, indexed, fusion.Norm, after, taps, MinDepth, true);
        if (fusion.Norm == FewRowsNorm.None && !indexed && shape.SharedBytes(rows, inputs) > sharedMemory) shape = shape with { IsStored = false };
        return shape.SharedBytes(rows, inputs) <= sharedMemory ? shape : null;
    }

    /// <summary>
    /// Returns the shape with the depth for a device, and the number of blocks. Two blocks of this product, or one block of it and one of the next
    /// product, fit on a multiprocessor if each has enough rounds. Otherwise a block has the multiprocessor to itself.
    /// </summary>
    /// <param name="tiles">The tiles of all rows and weights.</param>
    /// <param name="rows">The rows.</param>
    /// <param name="inputs">The inputs.</param>
    /// <param name="sharedMemory">The largest shared memory of a block.</param>
    /// <param name="multiprocessors">The multiprocessors of the device.</param>
    public (FewRowsShape Shape, long Blocks) For(long tiles, long rows, long inputs, long sharedMemory, int multiprocessors)
    {
        int parts = IsGated ? 2 : 1;
        long whole = sharedMemory + ReservedBytes, rest = (this with { Depth = 0 }).SharedBytes(rows, inputs), round = (long)parts * RoundBytes;
        long half = tiles <= multiprocessors ? whole - UsualBytes - ReservedBytes : whole / BlocksTogether, blocks = BlocksTogether;
        long depth = (half - ReservedBytes - rest) / round;
        if (depth * parts < MinSharedDepth) (depth, blocks) = ((sharedMemory - rest) / round, 1);
        // no more rounds than a block has
        blocks = Math.Min(tiles, blocks * multiprocessors);
        long rounds = (inputs + RoundInputs - 1) / RoundInputs * ((tiles + blocks - 1) / blocks);
        return (this with { Depth = (int)Math.Clamp(Math.Min(depth, rounds), MinDepth, MaxDepth / parts) }, blocks);
    }
}
