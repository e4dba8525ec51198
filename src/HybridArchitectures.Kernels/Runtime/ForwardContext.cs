using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>What a forward computation leaves for its gradient.</summary>
public sealed class ForwardContext
{
    internal ForwardContext(bool recorded) => NeedsGradient = recorded;

    internal Tensor?[] Saved { get; private set; } = [];

    /// <summary>Whether any gradient will be asked for; where not, nothing need be kept.</summary>
    public bool NeedsGradient { get; }

    /// <summary>Keeps tensors (inputs, outputs or intermediate ones; null where an optional one is absent) until the gradient has been computed. Call it once.</summary>
    public void Save(params Tensor?[] tensors)
    {
        if (NeedsGradient) Saved = tensors;
    }
}
