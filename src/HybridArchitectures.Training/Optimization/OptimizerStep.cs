using static TorchSharp.torch;

namespace HybridArchitectures.Training.Optimization;

/// <summary>Contains the inputs of one step of an optimizer.</summary>
/// <param name="Rate">The learning rate.</param>
/// <param name="Steps">The number of steps that counted, this one included; a float32 scalar on the device.</param>
/// <param name="Failed">1 if the step must change nothing, otherwise 0; a float32 scalar on the device.</param>
/// <param name="Divisor">The number by which gradients are divided (clipping); null for 1.</param>
/// <param name="Gradients">The gradients by the names of their parameters, contiguous.</param>
sealed record OptimizerStep(double Rate, Tensor Steps, Tensor Failed, Tensor? Divisor, IReadOnlyDictionary<string, Tensor> Gradients);
