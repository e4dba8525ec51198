using System.Numerics;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>Specifies how <c>BranchFusion.cu</c> processes rows. The values are those of that file.</summary>
enum BranchFusionForm
{
    /// <summary>Parts lie within the lanes of a warp.</summary>
    Heads,

    /// <summary>A part is a row, which fits in a block.</summary>
    Rows,

    /// <summary>A block holds a row of any parts.</summary>
    Parts,

    /// <summary>Processes all other shapes.</summary>
    Rest,
}

/// <summary>Describes how <c>BranchFusion.cu</c> is compiled and launched.</summary>
/// <param name="Backward">Whether gradients are computed, or the fusion.</param>
/// <param name="Form">How rows are processed.</param>
/// <param name="Plain">Whether there are neither weights nor a gate; used only for <see cref="BranchFusionForm.Heads"/>.</param>
/// <param name="Vectors">The vectors of a row.</param>
/// <param name="Threads">The threads of a block.</param>
/// <param name="Shared">The bytes of shared memory.</param>
readonly record struct BranchFusionLaunchConfiguration(bool Backward, BranchFusionForm Form, bool Plain, long Vectors, int Threads, int Shared)
{
    const int MaxVectors = 1024;                    // of a branch in a block
    const int MaxWarps = 16;

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
        // two rows being loaded, each of two vectors per thread and of three tensors, and the numbers of this row and the next
        int threads = (int)Math.Min(512, (vectors + 63) / 64 * 32),
            shared = (int)((2 * numbers + 3) / 4 * 16) + (backward ? 2 * 3 * 2 * 16 * threads : 0);
        if (!wide || vectors > MaxVectors || shared > sharedMemory)
            return new(backward, BranchFusionForm.Rest, false, vectors, threads, (int)numbers * sizeof(float));
        return new(backward, rows ? BranchFusionForm.Rows : BranchFusionForm.Parts, false, vectors, threads, shared);
    }

    /// <summary>Gets the number of blocks that share a row.</summary>
    public long Tiles => Form == BranchFusionForm.Heads ? (Vectors + Threads - 1) / Threads : 1;

    /// <summary>
    /// Returns the number of rows that are processed at the same time. Backward, each has separate sums, so it depends only on the sizes and not on
    /// the GPU: the total is bit-equal everywhere.
    /// </summary>
    public long Slices(long rows) => Plain || (!Backward && Form == BranchFusionForm.Rows) ? rows
        : !Backward ? (rows + 3) / 4
        : Math.Clamp(132L * (Form == BranchFusionForm.Heads ? 768 : 512) / (Threads * Tiles), 1, rows);

    /// <summary>Returns the options of the kernel.</summary>
    public KernelVariant Variant(ScalarType type, bool wide) => new Options(Backward, Form, Plain, type, wide);

    sealed record Options(bool Backward, BranchFusionForm Form, bool Plain, ScalarType Type, bool Wide) : KernelVariant
    {
        public override string File => "BranchFusion.cu";

        public override IEnumerable<(string Name, object Value)> Definitions =>
        [
            ("FUSION_TYPE", CudaMemory.ElementName(Type)), ("FUSION_VECTOR", CudaMemory.VectorLength(Type, Wide)), ("FUSION_FORM", Form),
            ("FUSION_PLAIN", Plain ? "true" : "false"), ("FUSION_BACKWARD", Flag(Backward)),
        ];
    }
}
