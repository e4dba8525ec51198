using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Reference;

/// <summary>Computes a step of one token per row with the reference of an operator.</summary>
static class ReferenceStep
{
    /// <summary>Updates the state in place without a gradient, and returns the output without its length.</summary>
    /// <param name="state">The state before the token.</param>
    /// <param name="forward">The reference for rows of one token that start with the state.</param>
    public static Tensor Run(Tensor state, Func<(Tensor Output, Tensor FinalState)> forward)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var (output, after) = forward();
        state.copy_(after);
        return output.squeeze(1).MoveToOuterDisposeScope();
    }
}
