using System.Collections.Concurrent;
using System.Numerics;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>How <c>BranchFusion.cu</c> goes about rows, under the names it has there.</summary>
enum BranchFusionForm
{
    /// <summary>Parts lie within a warp's lanes.</summary>
    Heads,

    /// <summary>A part is a row, which a block holds.</summary>
    Rows,

    /// <summary>A block holds a row of any parts.</summary>
    Parts,

    /// <summary>Anything else.</summary>
    Rest,
}

/// <summary>How <c>BranchFusion.cu</c> is cut: what it is compiled with, and how it is started.</summary>
/// <param name="Backward">Gradients, or the fusion itself.</param>
/// <param name="Form">How it goes about rows.</param>
/// <param name="Plain">Neither weights nor a gate; told apart for <see cref="BranchFusionForm.Heads"/> alone.</param>
/// <param name="Vectors">Of a row.</param>
/// <param name="Threads">Of a block.</param>
/// <param name="Shared">Bytes of shared memory.</param>
readonly record struct BranchFusionLaunchConfiguration(bool Backward, BranchFusionForm Form, bool Plain, long Vectors, int Threads, int Shared)
{
    const int MaxVectors = 1024;                    // that a block holds of a branch
    const int MaxWarps = 16;

    static readonly ConcurrentDictionary<(bool Backward, BranchFusionForm Form, bool Plain, ScalarType Type, bool Wide), string> Sources = new();

    /// <summary>
    /// Returns the configuration for rows of <paramref name="vectors"/> vectors and the number of groups of each branch (0 where it is not normed). A
    /// wide vector is 16 bytes, otherwise one element.
    /// </summary>
    public static BranchFusionLaunchConfiguration For(bool backward, bool plain, bool wide, long vectors, ReadOnlySpan<int> groups, int sharedMemory)
    {
        bool heads = wide, rows = wide && vectors <= MaxVectors;
        long numbers = (2 - groups.Length) * MaxWarps;      // in shared memory: sums of warps, or of every vector and part
        foreach (int count in groups)
        {
            heads &= count == 0 || (vectors / count <= 32 && BitOperations.IsPow2(vectors / count));
            rows &= count <= 1;
            numbers += count > 1 ? vectors + count : MaxWarps;
        }
        if (heads) return new(backward, BranchFusionForm.Heads, plain, vectors, (int)Math.Min(256, (vectors + 31) / 32 * 32), 0);
        // two rows of three vectors' two a thread on their way, and the numbers of this row and the next
        int threads = (int)Math.Min(512, (vectors + 63) / 64 * 32), shared = (int)((2 * numbers + 3) / 4 * 16) + (backward ? 2 * 3 * 2 * 16 * threads : 0);
        if (!wide || vectors > MaxVectors || shared > sharedMemory) return new(backward, BranchFusionForm.Rest, false, vectors, threads, (int)numbers * sizeof(float));
        return new(backward, rows ? BranchFusionForm.Rows : BranchFusionForm.Parts, false, vectors, threads, shared);
    }

    /// <summary>Blocks that share a row.</summary>
    public long Tiles => Form == BranchFusionForm.Heads ? (Vectors + Threads - 1) / Threads : 1;

    /// <summary>
    /// Returns the number of rows that are processed at the same time. Backward, each has separate sums, so it depends only on the sizes and not on
    /// the GPU: the total is bit-equal everywhere.
    /// </summary>
    public long Slices(long rows) => Plain || (!Backward && Form == BranchFusionForm.Rows) ? rows
        : !Backward ? (rows + 3) / 4
        : Math.Clamp(132L * (Form == BranchFusionForm.Heads ? 768 : 512) / (Threads * Tiles), 1, rows);

    /// <summary>The source with its definitions.</summary>
    public string Source(ScalarType type, bool wide) => Sources.GetOrAdd((Backward, Form, Plain, type, wide), static key =>
        $"BranchFusion.cu FUSION_TYPE={(key.Type == ScalarType.BFloat16 ? "bfloat16" : "float")} FUSION_VECTOR={CudaMemory.VectorLength(key.Type, key.Wide)} FUSION_FORM={key.Form} "
        + $"FUSION_PLAIN={(key.Plain ? "true" : "false")} FUSION_BACKWARD={(key.Backward ? 1 : 0)}");
}
