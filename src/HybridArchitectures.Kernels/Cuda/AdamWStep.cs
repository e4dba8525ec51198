using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>Contains what all parameters have in common in a step of AdamW. Tensors are float32 scalars on the device.</summary>
/// <param name="Rate">The learning rate.</param>
/// <param name="Steps">The number of steps that counted, including this one.</param>
/// <param name="Failed">Not 0 if nothing may change.</param>
/// <param name="Divisor">The number by which gradients are divided. Null means 1.</param>
/// <param name="Beta1">The decay of the mean of the gradient.</param>
/// <param name="Beta2">The decay of the mean of the squared gradient.</param>
/// <param name="Epsilon">The number added to the root of the mean square.</param>
/// <param name="Decay">The weight decay per unit of the learning rate.</param>
sealed record AdamWStep(Tensor Rate, Tensor Steps, Tensor Failed, Tensor? Divisor, double Beta1, double Beta2, double Epsilon, double Decay);
