using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>
/// Operators with gradients of their own, and the backward pass that goes with them.
/// <para>
/// Unlike TorchSharp's own function classes: an exception in a gradient reaches the caller of <see cref="Backward(Tensor, Tensor?, bool)"/> instead of ending the process, outputs
/// keep no shadow buffers, saved tensors are released as soon as they are used, and no gradient can be finalized under native code.
/// </para>
/// </summary>
/// <example>
/// <code>
/// using var scope = NewDisposeScope();
/// Tensor x = randn(4, 8).requires_grad_();
/// Tensor y = Autograd.Apply([x],
///     forward: context =>
///     {
///         context.Save(x);                                    // saved for backward
///         return [x.square()];
///     },
///     backward: context => [context.Saved[0]!.mul(Scalars.Two).mul(context.Gradients[0]!)])[0];
/// Autograd.Backward(y.sum());
/// </code>
/// </example>
public static class Autograd
{
    /// <summary>Runs <paramref name="forward"/> and, where gradients are wanted, records <paramref name="backward"/> for it.</summary>
    /// <param name="inputs">Tensors that the operator is differentiable in; null where an optional one is absent.</param>
    /// <param name="forward">Computes the outputs (floating point, each a tensor of its own, none of the inputs) without recording, and saves what the gradient needs.
    /// It runs in a scope of its own: what it neither returns nor saves is disposed.</param>
    /// <param name="backward">Gives one gradient for each of <paramref name="inputs"/>, null where there is none. It runs in a scope of its own, on CUDA on a thread of libtorch's.
    /// A leaf keeps the memory of its gradient: return none that shares memory with a tensor that lives on outside of the context (its gradients and saved tensors may be returned).</param>
    /// <returns>The outputs, in the current dispose scope.</returns>
    public static Tensor[] Apply(IReadOnlyList<Tensor?> inputs, Func<ForwardContext, Tensor[]> forward, Func<BackwardContext, Tensor?[]> backward)
    {
        ArgumentNullException.ThrowIfNull(inputs);
        ArgumentNullException.ThrowIfNull(forward);
        ArgumentNullException.ThrowIfNull(backward);
        TorchLibrary.EnsureLoaded();
        var needs = new bool[inputs.Count];
        bool any = false;
        if (is_grad_enabled())
            for (int i = 0; i < needs.Length; i++) any |= needs[i] = inputs[i] is { requires_grad: true };
        var context = new ForwardContext(any);
        if (!any)
        {
            using var scope = NewDisposeScope();
            using var noGrad = no_grad();
            var plain = forward(context);
            foreach (var output in plain) output.MoveToOuterDisposeScope();
            return plain;
        }
        var results = AutogradNode.Record(inputs, needs, context, forward, backward);
        GC.KeepAlive(inputs);
        return results;
    }

    /// <summary>Adds the gradient of <paramref name="output"/> to every leaf it was computed from.</summary>
    /// <param name="output">What to differentiate; one element, unless <paramref name="gradient"/> is given.</param>
    /// <param name="gradient">The vector of the vector-Jacobian product, shaped like <paramref name="output"/>; null for 1.</param>
    /// <param name="retainGraph">Keep what was saved, so that a second backward pass may follow.</param>
    /// <remarks>In main memory, intermediate results below the least normal number (1.2e-38 in float32) count as zero. When it throws, gradients of other branches may have been added already: drop
    /// them all before going on.</remarks>
    public static void Backward(Tensor output, Tensor? gradient = null, bool retainGraph = false)
    {
        ArgumentNullException.ThrowIfNull(output);
        Run([output], gradient is null ? null : [gradient], retainGraph);
    }

    /// <summary>Adds the gradients of several outputs to every leaf they were computed from, in one pass.</summary>
    /// <param name="outputs">What to differentiate; at least one.</param>
    /// <param name="gradients">The vector of the vector-Jacobian product for each, shaped like it.</param>
    /// <param name="retainGraph">Keep what was saved, so that a second backward pass may follow.</param>
    /// <inheritdoc cref="Backward(Tensor, Tensor?, bool)" path="/remarks"/>
    public static void Backward(IReadOnlyList<Tensor> outputs, IReadOnlyList<Tensor> gradients, bool retainGraph = false)
    {
        ArgumentNullException.ThrowIfNull(outputs);
        ArgumentNullException.ThrowIfNull(gradients);
        if (outputs.Count == 0 || outputs.Count != gradients.Count)
            throw new ArgumentException($"{gradients.Count} gradients for {outputs.Count} outputs; expected one each, and at least one", nameof(gradients));
        Run(outputs, gradients, retainGraph);
    }

    static void Run(IReadOnlyList<Tensor> outputs, IReadOnlyList<Tensor>? gradients, bool retainGraph)
    {
        AutogradNode.ClearError();
        ExceptionDispatchInfo? failure = null;
        using (FlushedDenormals.For(outputs))
        {
            try
            {
#pragma warning disable RS0030 // the one place that may
                autograd.backward([.. outputs], gradients is null ? null : [.. gradients], retainGraph);
#pragma warning restore RS0030
            }
            catch (Exception e)
            {
                // Where an exception is caught, Windows restores the thread's floating-point control as it was at the throw. Thrown on from here, it would
                // undo the end of the scope above. A managed exception lies behind libtorch's own.
                failure = (e is ExternalException ? AutogradNode.TakeError() : null) ?? ExceptionDispatchInfo.Capture(e);
            }
            finally
            {
                AutogradNode.ReleasePending();
            }
        }
        failure?.Throw();
        GC.KeepAlive(outputs);
        GC.KeepAlive(gradients);
        AutogradNode.TakeError()?.Throw();
    }
}
