using static TorchSharp.torch;

namespace HybridArchitectures.Benchmarks.Gpu;

/// <summary>Describes an operator at one size.</summary>
/// <param name="Op">The operator's name in the records.</param>
/// <param name="Shape">Its sizes as the records print them.</param>
/// <param name="Type">The activations' type.</param>
/// <param name="Limits">What the GPU could do at best.</param>
/// <param name="Prepare">Creates a set of inputs and returns one call with it, whose result is differentiated.</param>
sealed record GpuCase(string Op, string Shape, ScalarType Type, MinGpuTime Limits, Func<GpuInputs, Func<Tensor>> Prepare)
{
    public string TypeName => Type == ScalarType.Float32 ? "float32" : "bfloat16";

    /// <summary>Gets whether calls are also timed as parts of a CUDA graph, because a call takes the GPU less time than the host.</summary>
    public bool InGraph { get; init; }

    /// <summary>Gets whether there is a backward pass.</summary>
    public bool Differentiates => Limits.TotalMs is not null;
}
