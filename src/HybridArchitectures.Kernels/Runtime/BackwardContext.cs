using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>What a gradient computation is given.</summary>
public sealed class BackwardContext
{
    readonly bool[] needs;

    internal BackwardContext(Tensor?[] gradients, Tensor?[] saved, bool[] needs)
    {
        Gradients = gradients;
        Saved = saved;
        this.needs = needs;
    }

    /// <summary>The gradient of each output, shaped like it; null for an output that no gradient reaches. At least one is given.</summary>
    public IReadOnlyList<Tensor?> Gradients { get; }

    /// <summary>The tensors given to <see cref="ForwardContext.Save"/>, in that order.</summary>
    public IReadOnlyList<Tensor?> Saved { get; }

    /// <summary>Whether the gradient of this input is wanted.</summary>
    public bool Needs(int input) => needs[input];
}
