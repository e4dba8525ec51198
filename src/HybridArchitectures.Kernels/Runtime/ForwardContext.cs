using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>Receives what a forward computation saves for its gradient.</summary>
public sealed class ForwardContext
{
    internal ForwardContext(bool recorded) => NeedsGradient = recorded;

    internal Tensor?[] Saved { get; private set; } = [];

    /// <summary>Gets whether a gradient can be requested. If false, nothing needs to be saved.</summary>
    public bool NeedsGradient { get; }

    /// <summary>
    /// Saves tensors (inputs, outputs, intermediate ones; null where an optional one is absent) until the gradient has been computed. Call it once.
    /// </summary>
    public void Save(params Tensor?[] tensors)
    {
        if (NeedsGradient) Saved = tensors;
    }
}
