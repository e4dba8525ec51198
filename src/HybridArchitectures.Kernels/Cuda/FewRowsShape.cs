using HybridArchitectures.Kernels.Runtime;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>Specifies what follows a product of a few rows in the same launch.</summary>
enum FewRowsAfter
{
    /// <summary>Nothing, or the addition of a residual.</summary>
    Sum,

    /// <summary>Queries and keys are rotated, and keys and values are written to the cache.</summary>
    Cache,

    /// <summary>A convolution.</summary>
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
    /// <summary>The name of the kernel.</summary>
    public const string Kernel = "few_rows";

    /// <summary>The number of threads of a block.</summary>
    public const int Threads = 32 * Warps;

    /// <summary>The number of outputs that a block computes at a time.</summary>
    public const int Outputs = 16;

    // as in FewRowsLinear.cu
    const int Warps = 8, RowsPerTile = 8, Padding = 32, MaxRows = 16, RoundBytes = 4 * 16 * Threads, MinDepth = 2;

    // with these, two blocks and one of another kernel fit on a multiprocessor of compute capability 9.0
    const int DepthPlain = 8, DepthGated = 4;

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

    /// <summary>Returns the shape for a product; null if a block has too little shared memory.</summary>
    public static FewRowsShape? For(long rows, long inputs, bool gated, bool indexed, in FewRowsFusion fusion, long sharedMemory)
    {
        var after = fusion switch
        {
            { Cache: not null } => FewRowsAfter.Cache,
            { Convolution: not null } => FewRowsAfter.Convolution,
            _ => FewRowsAfter.Sum,
        };
        int taps = fusion.Convolution is { } convolution ? (int)convolution.Weight.size(1) : 2;
        var shape = new FewRowsShape(indexed || rows <= RowsPerTile ? 1 : 2, gated, indexed, fusion.Norm, after, taps,
            gated ? DepthGated : DepthPlain, true);
        if (fusion.Norm == FewRowsNorm.None && !indexed && (shape with { Depth = MinDepth }).SharedBytes(rows, inputs) > sharedMemory)
            shape = shape with { IsStored = false };
        while (shape.Depth > MinDepth && shape.SharedBytes(rows, inputs) > sharedMemory) shape = shape with { Depth = shape.Depth - 1 };
        return shape.SharedBytes(rows, inputs) <= sharedMemory ? shape : null;
    }
}
