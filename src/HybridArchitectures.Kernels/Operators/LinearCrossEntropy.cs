using HybridArchitectures.Kernels.Composed;
using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Operators;

/// <summary>
/// Computes the head of a language model and its cross entropy as one operator, which stores only a small part of the logits at a time (arXiv
/// 2411.09009 explains why that matters).
/// </summary>
/// <remarks>
/// Tokens are processed in chunks, and gradients are computed in the forward pass. Without gradients, a GPU processes chunks of classes. The gradient
/// of the weight is summed in float32.
/// </remarks>
public static class LinearCrossEntropy
{
    static KernelBackend Backend => OperatorOptions.BackendOf(static options => options.LinearCrossEntropyBackend);

    /// <summary>Returns the back end that serves activations like <paramref name="hidden"/>.</summary>
    public static KernelBackend BackendFor(Tensor hidden)
    {
        Checks.Floating(hidden);
        if (Backend == KernelBackend.LibTorch) return KernelBackend.LibTorch;
        var chosen = SequenceChecks.Choose(Backend, hidden, nameof(LinearCrossEntropy));
        // in chunks, if none of this library's kernels serves
        return Backend == KernelBackend.Auto && chosen == KernelBackend.Reference ? KernelBackend.LibTorch : chosen;
    }

    /// <summary>
    /// Computes the mean over tokens of -log softmax(logitScale * (hidden weight^T + bias))[target], in nats, plus <paramref name="zLoss"/> times the
    /// mean of logsumexp^2. Tokens whose target is <paramref name="ignoreIndex"/> do not count. If no token counts, loss and gradients are 0.
    /// </summary>
    /// <param name="hidden">The input, shape (T, d), floating point.</param>
    /// <param name="weight">
    /// The weight of the head, shape (V, d), float32 or in the dtype of <paramref name="hidden"/>. Products are in the dtype of
    /// <paramref name="hidden"/>.
    /// </param>
    /// <param name="targets">The targets, shape (T), int64, each in [0, V) or <paramref name="ignoreIndex"/>.</param>
    /// <param name="ignoreIndex">The target that marks a token that does not count. The default is -100.</param>
    /// <param name="labelSmoothing">
    /// The share of the target's probability that is spread evenly over all V classes, in [0, 1). The default is 0.
    /// </param>
    /// <param name="zLoss">
    /// The weight of the penalty on the squared log-normalizer (arXiv 2204.02311, section 5), at least 0. The default is 0.
    /// </param>
    /// <param name="bias">The bias, shape (V), float32 or in the dtype of <paramref name="hidden"/>. The default, null, means none.</param>
    /// <param name="logitScale">The multiplier of the logits. The default is 1.</param>
    /// <param name="tokenWeights">
    /// The weights of tokens in the mean, shape (T), float32 without a gradient, each finite and at least 0. If the sum is 0, the loss is 0. The
    /// default, null, means equal weights. On a GPU, the LibTorch back end computes a weighted loss.
    /// </param>
    /// <param name="logitCap">
    /// The bound c of the scaled logits, which become c tanh(logits / c), above 0. The default, null, means none. On a GPU, the LibTorch back end
    /// computes it.
    /// </param>
    /// <returns>A scalar, float32 (float64 for float64 input).</returns>
    /// <exception cref="ArgumentException">A shape, dtype, device or number is invalid. The message names the argument.</exception>
    public static Tensor Forward(Tensor hidden, Tensor weight, Tensor targets, long ignoreIndex = -100, double labelSmoothing = 0, double zLoss = 0,
        Tensor? bias = null, double logitScale = 1, Tensor? tokenWeights = null, double? logitCap = null)
    {
        var inputs = new CrossEntropyInputs(hidden, weight, bias, targets, tokenWeights, new(ignoreIndex, labelSmoothing, zLoss, logitScale)
        {
            LogitCap = logitCap,
        });
        inputs.Check();
        var backend = BackendFor(hidden);
        if (tokenWeights is not null) backend = NotOnCuda(backend, "tokenWeights");
        if (logitCap is not null) backend = NotOnCuda(backend, "logitCap");
        if (backend == KernelBackend.Reference)
            return LinearCrossEntropyReference.Forward(hidden, weight, targets, ignoreIndex, labelSmoothing, zLoss, bias, logitScale, tokenWeights,
                logitCap);
        return backend == KernelBackend.Cuda ? CrossEntropyCuda.Apply(inputs.On(backend)) : InChunks(inputs.On(backend));
    }

    // the Cuda back end does not serve every option: Auto then selects LibTorch
    static KernelBackend NotOnCuda(KernelBackend chosen, string option)
    {
        if (chosen != KernelBackend.Cuda) return chosen;
        return Backend != KernelBackend.Cuda ? KernelBackend.LibTorch
            : throw new NotSupportedException($"{option} is given; expected null for the Cuda back end. Auto and LibTorch support it on a GPU.");
    }

    static Tensor InChunks(CrossEntropyInputs inputs)
    {
        bool grad = is_grad_enabled();
        bool[] needs = [grad && inputs.Hidden.requires_grad, grad && inputs.Weight.requires_grad, grad && inputs.Bias is { requires_grad: true }];
        var place = OperatorOptions.Current.Gradients?.For(inputs.Weight);
        return Autograd.Apply<LossGradients>([inputs.Hidden, inputs.Weight, inputs.Bias], _ =>
        {
            var (loss, gradients) = ChunkedCrossEntropy.Run(inputs, needs);
            return ([loss], new LossGradients(gradients[0], gradients[1], gradients[2]));
        }, (context, saved) => place is null ? saved.Times(context.Gradients[0]!) : place.OfferAt(1, saved.Times(context.Gradients[0]!)))[0];
    }

    /// <summary>Computes the cross entropy of each token in nats, without a gradient.</summary>
    /// <inheritdoc cref="Forward" path="/param"/>
    /// <returns>The losses, shape (T), float32; 0 if the target is <paramref name="ignoreIndex"/>.</returns>
    /// <exception cref="ArgumentException">A shape, dtype, device or number is invalid. The message names the argument.</exception>
    public static Tensor TokenLosses(
        Tensor hidden, Tensor weight, Tensor targets, long ignoreIndex = -100, Tensor? bias = null, double logitScale = 1,
        double? logitCap = null)
    {
        var inputs = new CrossEntropyInputs(hidden, weight, bias, targets, null, new(ignoreIndex, LabelSmoothing: 0, ZLoss: 0, logitScale)
        {
            LogitCap = logitCap,
        });
        inputs.Check();
        var backend = BackendFor(hidden);
        if (logitCap is not null) backend = NotOnCuda(backend, "logitCap");
        if (backend == KernelBackend.Reference)
            return LinearCrossEntropyReference.TokenLosses(hidden, weight, targets, ignoreIndex, bias, logitScale, logitCap);
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        inputs = inputs.On(backend);
        var losses = backend == KernelBackend.Cuda ? CrossEntropyCuda.Losses(inputs) : ChunkedCrossEntropy.TokenLosses(inputs);
        return losses.to(ScalarType.Float32).MoveToOuterDisposeScope();
    }
}
