using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>Specifies what <c>RmsNorm.cu</c> normalizes. The values are those of that file.</summary>
enum NormMode
{
    /// <summary>Normalizes x.</summary>
    Plain,

    /// <summary>Normalizes x silu(gate).</summary>
    Gated,

    /// <summary>Normalizes x and multiplies the result by silu(gate).</summary>
    Opened,

    /// <summary>x + residual, which is also written.</summary>
    Sum,
}

/// <summary>Describes how <c>RmsNorm.cu</c> is compiled and launched for parts of one width.</summary>
/// <param name="Backward">Whether gradients are computed, or the norm.</param>
/// <param name="Team">The threads that share a part.</param>
/// <param name="Kept">The vectors of a part in the registers of a thread.</param>
/// <param name="Rest">Whether parts are wider than these vectors.</param>
/// <param name="Threads">The threads of a block.</param>
/// <param name="Blocks">The blocks that a multiprocessor must have room for.</param>
readonly record struct NormLaunchConfiguration(bool Backward, int Team, int Kept, bool Rest, int Threads, int Blocks)
{
    /// <summary>
    /// Returns the configuration for parts of a number of vectors. It was measured on an H100 and depends only on the sizes, so that sums over teams
    /// are bit-equal on every GPU.
    /// </summary>
    public static NormLaunchConfiguration For(long vectors, bool backward, NormMode mode, ScalarType type)
    {
        if (vectors <= 32) return new(backward, vectors <= 8 ? 8 : vectors <= 16 ? 16 : 32, 1, false, 256, backward ? 3 : 4);
        // four vectors instead of two if they fit in registers: float32 without a second input
        bool light = mode == NormMode.Plain && type == ScalarType.Float32;
        int team = 32, kept = (light && vectors > 512) || (!backward && vectors > 1024) ? 4 : 2;
        while (team < 512 && vectors > kept * team) team *= 2;
        int threads = team == 32 ? 128 : team;
        return new(backward, team, kept, vectors > kept * team, threads, kept == 4 && !light ? 1 : (backward ? 512 : 1024) / threads);
    }

    /// <summary>
    /// Returns the number of rows that are processed at the same time backward, each with a separate sum for the gradient of the weight: the number
    /// that the 132 multiprocessors of an H100 hold.
    /// </summary>
    public long Slices(long rows, long groups) => Math.Clamp(rows, 1, Math.Max(1, 132L * Blocks * Threads / Team / groups));

    /// <summary>Returns the number of blocks for a number of parts at a time.</summary>
    public long Grid(long parts) => (parts + Threads / Team - 1) / (Threads / Team);

    /// <summary>Returns the options of the kernel.</summary>
    public KernelVariant Variant(NormMode mode, ScalarType type, bool wide) => new Options(this, mode, type, wide);

    sealed record Options(NormLaunchConfiguration Launch, NormMode Mode, ScalarType Type, bool Wide) : KernelVariant
    {
        public override string File => "RmsNorm.cu";

        public override IEnumerable<(string Name, object Value)> Definitions =>
        [
            ("NORM_TYPE", CudaMemory.ElementName(Type)), ("NORM_VECTOR", CudaMemory.VectorLength(Type, Wide)), ("NORM_MODE", Mode),
            ("NORM_TEAM", Launch.Team), ("NORM_KEPT", Launch.Kept), ("NORM_REST", Launch.Rest ? "true" : "false"),
            ("NORM_THREADS", Launch.Threads), ("NORM_BLOCKS", Launch.Blocks), ("NORM_BACKWARD", Flag(Launch.Backward)),
        ];
    }
}
