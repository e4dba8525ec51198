using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>
/// Records operators with custom gradients, and runs the backward pass.
/// <para>
/// Unlike with the function classes of TorchSharp, an exception in a gradient reaches the caller of <see cref="Backward(Tensor, Tensor?, bool)"/> and
/// does not end the process, outputs have no shadow buffers, saved tensors are released as soon as they are used, and no gradient can be finalized
/// while native code uses it.
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
    /// <summary>Runs <paramref name="forward"/> and, if gradients are needed, records <paramref name="backward"/> for it.</summary>
    /// <param name="inputs">The tensors in which the operator is differentiable; null where an optional one is absent.</param>
    /// <param name="forward">
    /// Computes the outputs without recording, and saves what the gradient needs. Each output is a new floating-point tensor and none of the inputs.
    /// The function runs in a dispose scope: everything that it neither returns nor saves is disposed.
    /// </param>
    /// <param name="backward">
    /// Returns one gradient for each of <paramref name="inputs"/>, or null if it has none. The function runs in a dispose scope, and on CUDA on
    /// a thread of libtorch, with the <see cref="ExecutionContext"/> of this call. A leaf keeps the memory of its gradient. Do not return a gradient
    /// that shares memory with a tensor that is used outside the context (its gradients and saved tensors can be returned).
    /// </param>
    /// <returns>The outputs, in the current dispose scope.</returns>
    /// <exception cref="InvalidOperationException">An output is absent or disposed, or it is not a new tensor.</exception>
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
            AutogradNode.CheckPresent(plain);
            foreach (var output in plain) output.MoveToOuterDisposeScope();
            return plain;
        }
        var results = AutogradNode.Record(inputs, needs, context, forward, backward);
        GC.KeepAlive(inputs);
        return results;
    }

    /// <summary>
    /// Runs <paramref name="forward"/> and, if gradients are needed, records <paramref name="backward"/> for it, with named tensors.
    /// </summary>
    /// <param name="inputs">The tensors in which the operator is differentiable; null where an optional one is absent.</param>
    /// <param name="forward">Returns the outputs and what the gradient needs, as for the other overload.</param>
    /// <param name="backward">
    /// Returns one gradient for each of <paramref name="inputs"/>. It must capture no tensor: the record contains the saved ones.
    /// </param>
    internal static Tensor[] Apply<TSaved>(
        IReadOnlyList<Tensor?> inputs, Func<ForwardContext, (Tensor[] Outputs, TSaved Saved)> forward,
        Func<BackwardContext, TSaved, Tensor?[]> backward) where TSaved : class, ISavedTensors<TSaved>
    {
        var gradient = new NamedGradient<TSaved>(backward);
        return Apply(inputs, context =>
        {
            var (outputs, saved) = forward(context);
            gradient.Save(context, saved);
            return outputs;
        }, gradient.Run);
    }

    /// <summary>Adds the gradient of <paramref name="output"/> to every leaf from which it was computed.</summary>
    /// <param name="output">The tensor to differentiate: one element, unless <paramref name="gradient"/> is given.</param>
    /// <param name="gradient">
    /// The vector of the vector-Jacobian product, with the shape of <paramref name="output"/>. The default, null, is 1.
    /// </param>
    /// <param name="retainGraph">Whether saved tensors are kept for a second backward pass. The default is false.</param>
    /// <remarks>
    /// On the CPU, intermediate results below the smallest normal number (1.2e-38 in float32) are treated as zero. If this method throws an
    /// exception, gradients of other branches may already have been added: clear all gradients before you continue.
    /// </remarks>
    public static void Backward(Tensor output, Tensor? gradient = null, bool retainGraph = false)
    {
        Require.Alive(output);
        if (gradient is not null) Require.Alive(gradient);
        Run([output], gradient is null ? null : [gradient], retainGraph);
    }

    /// <summary>Adds the gradients of several outputs to every leaf from which they were computed, in one pass.</summary>
    /// <param name="outputs">The tensors to differentiate; at least one.</param>
    /// <param name="gradients">The vector of the vector-Jacobian product for each output, with its shape.</param>
    /// <param name="retainGraph">Whether saved tensors are kept for a second backward pass. The default is false.</param>
    /// <inheritdoc cref="Backward(Tensor, Tensor?, bool)" path="/remarks"/>
    public static void Backward(IReadOnlyList<Tensor> outputs, IReadOnlyList<Tensor> gradients, bool retainGraph = false)
    {
        ArgumentNullException.ThrowIfNull(outputs);
        ArgumentNullException.ThrowIfNull(gradients);
        if (outputs.Count == 0 || outputs.Count != gradients.Count)
            throw Require.Unfit(nameof(gradients), $"gradients has {gradients.Count} tensors",
                $"{outputs.Count}, one for each output, and at least one");
        for (int i = 0; i < outputs.Count; i++)
        {
            Require.Present(outputs[i], $"{nameof(outputs)}[{i}]", "a tensor");
            Require.Alive(outputs[i], $"{nameof(outputs)}[{i}]");
            Require.Present(gradients[i], $"{nameof(gradients)}[{i}]", "a tensor");
            Require.Alive(gradients[i], $"{nameof(gradients)}[{i}]");
        }
        Run(outputs, gradients, retainGraph);
    }

    static void Run(IReadOnlyList<Tensor> outputs, IReadOnlyList<Tensor>? gradients, bool retainGraph)
    {
        for (int i = 0; i < outputs.Count; i++)
            if (!outputs[i].requires_grad)
                throw Require.Unfit(null, $"output {i} requires no gradient",
                    "the result of a computation on tensors that require one, outside of torch.no_grad() and torch.inference_mode()");
        AutogradNode.ClearError();
        ExceptionDispatchInfo? failure = null;
        using (FlushedDenormals.For(outputs))
        {
            try
            {
#pragma warning disable RS0030 // the only permitted call
                autograd.backward([.. outputs], gradients is null ? null : [.. gradients], retainGraph);
#pragma warning restore RS0030
            }
            catch (Exception e)
            {
                // When an exception is caught, Windows restores the floating-point control of the thread as it was at the throw. Thrown again from
                // here, it would undo the end of the scope above. A managed exception is the cause of libtorch's exception.
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
