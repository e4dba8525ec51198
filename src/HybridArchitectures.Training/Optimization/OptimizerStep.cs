using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Optimization;

/// <summary>Contains the inputs of one step of an optimizer.</summary>
/// <param name="Rate">The learning rate; NaN if only the device knows it.</param>
/// <param name="RateOnDevice">The learning rate as a float32 scalar on the device; null on the CPU.</param>
/// <param name="Steps">The number of steps that counted, this one included; a float32 scalar on the device.</param>
/// <param name="Failed">1 if the step must change nothing, otherwise 0; a float32 scalar on the device.</param>
/// <param name="Divisor">The number by which gradients are divided (clipping); null for 1.</param>
/// <param name="Gradients">
/// The gradients by the names of their parameters, contiguous. They are in the types of the parameters, or some of them in bfloat16.
/// </param>
sealed record OptimizerStep(
    double Rate, Tensor? RateOnDevice, Tensor Steps, Tensor Failed, Tensor? Divisor, IReadOnlyDictionary<string, Tensor> Gradients)
{
    /// <summary>Returns the step with a multiple of its learning rate.</summary>
    public OptimizerStep AtRate(double multiple) =>
        this with { Rate = Rate * multiple, RateOnDevice = RateOnDevice?.mul(Scalars.From(multiple)) };

    /// <summary>Gets the parameters whose copies in bfloat16 were written.</summary>
    public List<Tensor> Copied { get; } = [];

    /// <summary>Gets whether the optimizer keeps copies of weights in bfloat16.</summary>
    public required bool KeepsCopies { get; init; }

    /// <summary>Gets whether copies of weights in bfloat16 may be written: a captured step casts the weights instead.</summary>
    public bool WritesCopies => KeepsCopies && !double.IsNaN(Rate);
}
