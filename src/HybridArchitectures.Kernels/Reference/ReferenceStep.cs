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

    /// <summary>
    /// Does the same for several tokens, one after another. The states after the tokens are those that the reference returns, and no copies.
    /// </summary>
    /// <param name="state">The state before the first token.</param>
    /// <param name="length">The number of tokens.</param>
    /// <param name="forward">The reference for rows of one token, which start with the given state: a token's number and the state.</param>
    /// <returns>The outputs of the tokens, joined along dimension 1, and what returns rows to earlier tokens, which the caller disposes.</returns>
    public static (Tensor Output, StateReplay Replay) Several(Tensor state, long length,
        Func<long, Tensor, (Tensor Output, Tensor FinalState)> forward)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        Tensor[] outputs = new Tensor[length], states = new Tensor[length];
        for (int token = 0; token < length; token++)
            (outputs[token], states[token]) = forward(token, token == 0 ? state : states[token - 1]);
        state.copy_(states[^1]);
        return (cat(outputs, 1).MoveToOuterDisposeScope(), StateReplay.FromStates(states[..^1]));
    }
}
