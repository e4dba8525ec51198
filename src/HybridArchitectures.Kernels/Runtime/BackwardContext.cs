using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>Provides the arguments of a gradient computation.</summary>
public sealed class BackwardContext
{
    readonly bool[] needs;

    internal BackwardContext(Tensor?[] gradients, Tensor?[] saved, bool[] needs)
    {
        Gradients = gradients;
        Saved = saved;
        this.needs = needs;
    }

    /// <summary>
    /// Gets the gradient of each output, with the shape of the output; null for an output that no gradient reaches. At least one is not null.
    /// </summary>
    public IReadOnlyList<Tensor?> Gradients { get; }

    /// <summary>Gets the tensors that were passed to <see cref="ForwardContext.Save"/>, in that order.</summary>
    public IReadOnlyList<Tensor?> Saved { get; }

    /// <summary>Returns whether the gradient of an input is needed.</summary>
    public bool Needs(int input) => needs[input];
}
