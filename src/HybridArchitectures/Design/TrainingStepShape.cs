using HybridArchitectures.Kernels;

namespace HybridArchitectures.Design;

/// <summary>The shape of a training step, from which follows what a mixer saves between its forward and its backward pass.</summary>
/// <param name="ElementSize">Bytes of an activation: 2 for bfloat16, 4 for float32.</param>
/// <param name="Length">Tokens of a row.</param>
/// <param name="Batch">The number of rows.</param>
/// <param name="Gpu">The limits of the GPU; null in main memory.</param>
public sealed record TrainingStepShape(int ElementSize, long Length, long Batch, GpuLimits? Gpu)
{
    /// <summary>Gets the number of tokens of all rows.</summary>
    public double Tokens => (double)Length * Batch;

    /// <summary>
    /// Gets whether inputs are computed again in the backward pass (<see cref="OperatorOptions.RecomputeInputs"/>), which kernels do in all types but
    /// float64.
    /// </summary>
    internal bool RecomputesInputs => ElementSize < 8 && OperatorOptions.Current.RecomputeInputs;

    /// <summary>Gets whether projections compute their normed input again: in bfloat16.</summary>
    internal bool RecomputesNorms => ElementSize == 2 && RecomputesInputs;
}
