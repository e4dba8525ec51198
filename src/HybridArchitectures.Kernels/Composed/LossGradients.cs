using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Composed;

/// <summary>Contains the gradients of a loss of a head, computed in the forward pass for an incoming gradient of 1.</summary>
sealed record LossGradients(Tensor? Hidden, Tensor? Weight, Tensor? Bias) : ISavedTensors<LossGradients>
{
    public LossGradients Map(Func<Tensor?, Tensor?> replace) => new(replace(Hidden), replace(Weight), replace(Bias));

    /// <summary>Returns the gradients for another incoming gradient.</summary>
    public Tensor?[] Times(Tensor incoming)
    {
        bool asIs = !LibTorch.CurrentBackwardKeepsGraph() && incoming.device_type == TorchSharp.DeviceType.CPU
            && incoming.to(ScalarType.Float64).item<double>() == 1;
        Tensor? Scaled(Tensor? gradient) => gradient is null || asIs ? gradient : gradient * incoming.to(gradient.dtype);
        return [Scaled(Hidden), Scaled(Weight), Scaled(Bias)];
    }
}
