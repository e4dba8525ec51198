using System.Text.RegularExpressions;

namespace HybridArchitectures.Benchmarks.Gpu;

/// <summary>Assigns kernels to groups by their names, for tables that show how the time of a step is spent.</summary>
static partial class KernelGroups
{
    // the first pattern that a name contains decides
    static readonly (string Group, string[] Patterns)[] Known =
    [
        ("products", ["nvjet", "gemm", "cutlass", "splitK", "cublas", "sgemm", "GroupMM"]),
        ("attention", ["attention_", "fmha", "flash", "cudnn"]),
        ("scans", ["dual_", "scan_", "delta_", "state_update"]),
        ("convolution", ["convolution_"]),
        ("norms", ["norm_parts"]),
        ("SwiGLU", ["swiglu"]),
        ("rotary", ["rotary"]),
        ("loss rows", ["cross_entropy"]),
        ("optimizer", ["Adam", "adamw", "adam_impl", "multi_tensor"]),
        ("partial sums", ["partial_sums"]),
        ("fusion of branches", ["fuse"]),
        ("embedding", ["embedding", "EmbeddingBag", "indexSelect"]),
        ("experts", ["route_experts", "mix_experts"]),
        ("gradient norm", ["squares_many", "norm_of_squares", "NormTwoOps", "norm_kernel"]),
        ("sums of gradients, residual", ["CUDAFunctor_add", "CUDAFunctorOnSelf_add", "AddFunctor"]),
        ("casts and copies", ["copy", "CatArray"]),
        ("fills", ["FillFunctor", "fill"]),
    ];

    /// <summary>Gets the names of all groups in the order of tables.</summary>
    public static IReadOnlyList<string> All { get; } = [.. Known.Select(item => item.Group), "other"];

    /// <summary>Returns the group of a kernel.</summary>
    public static string For(string kernel) =>
        Known.FirstOrDefault(item => item.Patterns.Any(pattern => kernel.Contains(pattern, StringComparison.Ordinal))).Group ?? "other";

    /// <summary>Returns the parts of a mangled name that tell kernels apart, at most 110 characters.</summary>
    public static string Short(string kernel)
    {
        string text = Noise().Replace(kernel, "");
        return text.Length > 110 ? text[..110] : text;
    }

    [GeneratedRegex(@"^_ZN2at6native\d*|_GLOBAL__N__[0-9a-f_]+|N2at6native|NS_\d*_?|at::native::|\(anonymous namespace\)::")]
    private static partial Regex Noise();
}
