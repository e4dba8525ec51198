using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Models;

/// <summary>
/// Is called around the forward and the backward pass of every block of a stack. Backward passes run in the reverse order of forward passes: libtorch
/// computes the node that was recorded last first, so every gradient of a block is complete before <see cref="AfterBackward"/>.
/// </summary>
abstract class BlockHooks
{
    /// <summary>Is called before a block reads its parameters.</summary>
    protected abstract void BeforeForward(int block);

    /// <summary>Is called after the forward pass of a block.</summary>
    protected abstract void AfterForward(int block);

    /// <summary>Is called before the backward pass of a block, if its output requires a gradient.</summary>
    protected abstract void BeforeBackward(int block);

    /// <summary>Is called when the gradients of a block are complete, if its input requires a gradient.</summary>
    protected abstract void AfterBackward(int block);

    /// <summary>Computes a block between the hooks.</summary>
    /// <param name="block">The number of the block, from 0.</param>
    /// <param name="x">The input of the block.</param>
    /// <param name="forward">Computes the block.</param>
    public Tensor Around(int block, Tensor x, Func<Tensor, Tensor> forward)
    {
        using var scope = NewDisposeScope();
        BeforeForward(block);
        var entering = Mark(x, () => AfterBackward(block));
        var output = Mark(forward(entering), () => BeforeBackward(block));
        AfterForward(block);
        return output.MoveToOuterDisposeScope();
    }

    // a node of the graph that passes the gradient on, and calls an action on the way
    static Tensor Mark(Tensor x, Action onBackward) => !is_grad_enabled() || !x.requires_grad ? x.alias() : Autograd.Apply([x],
        _ => [x.detach()], context =>
        {
            onBackward();
            return [context.Gradients[0]];
        })[0];
}
