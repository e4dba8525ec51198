using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>
/// A language model's head and its cross entropy as one operator, which holds a small part of the logits at a time (arXiv 2411.09009 tells why that matters). In main memory tokens are
/// taken in chunks, and where gradients are wanted they are computed chunk by chunk in the forward pass; on a card classes are taken in chunks, and logits are computed once more for the
/// gradients. The weight's gradient is summed in float32.
/// </summary>
public static class LinearCrossEntropy
{
    /// <summary>The back end to use; <see cref="KernelBackend.Auto"/> unless set.</summary>
    public static KernelBackend Backend { get; set; }

    /// <summary>The most logits that a card holds at a time, as a part of all, in (0, 1]; 1/16 unless set. Those of the last chunk are kept for the gradients and the others computed once
    /// more, so that a training step takes four matrix products with few logits held and three with all of them, 1. (Where all are few, they are held in any case.)</summary>
    /// <exception cref="ArgumentOutOfRangeException">Set to a number outside of (0, 1].</exception>
    public static double LogitsShare
    {
        get;
        set => field = value is > 0 and <= 1 ? value : throw new ArgumentOutOfRangeException(nameof(value), value, $"LogitsShare is {value}; expected a number in (0, 1]");
    } = 1.0 / 16;

    /// <summary>The back end that serves activations like <paramref name="hidden"/>.</summary>
    public static KernelBackend BackendFor(Tensor hidden)
    {
        Checks.Floating(hidden);
        if (Backend == KernelBackend.LibTorch) return KernelBackend.LibTorch;
        var chosen = SequenceChecks.Choose(Backend, hidden, nameof(LinearCrossEntropy));
        // in chunks, where neither of ours serves
        return Backend == KernelBackend.Auto && chosen == KernelBackend.Reference ? KernelBackend.LibTorch : chosen;
    }

    /// <summary>
    /// The mean over tokens of -log softmax(logitScale * (hidden weight^T + bias))[target], in nats, plus <paramref name="zLoss"/> times the mean of logsumexp^2.
    /// Tokens whose target is <paramref name="ignoreIndex"/> count nowhere; where all are, loss and gradients are 0.
    /// </summary>
    /// <param name="hidden">(T, d), floating point.</param>
    /// <param name="weight">(V, d), float32 or of the type of <paramref name="hidden"/>; products are in the type of <paramref name="hidden"/>.</param>
    /// <param name="targets">(T) int64, each in [0, V) or <paramref name="ignoreIndex"/>.</param>
    /// <param name="ignoreIndex">The target that marks a token as not counted.</param>
    /// <param name="labelSmoothing">The share of the target's probability spread evenly over all V classes, in [0, 1).</param>
    /// <param name="zLoss">Weight of the penalty on the squared log-normaliser (arXiv 2204.02311, section 5), at least 0.</param>
    /// <param name="bias">(V), float32 or of the type of <paramref name="hidden"/>; null for none.</param>
    /// <param name="logitScale">Factor on the logits.</param>
    /// <param name="tokenWeights">
    /// (T) float32 without gradient, each finite and at least 0: the mean over tokens is weighted by them, and a sum of 0 gives 0. Null, the default, weighs all
    /// tokens alike. On a GPU a weighted loss is computed by the LibTorch back end.
    /// </param>
    /// <returns>One number, float32 (float64 for float64 input).</returns>
    /// <exception cref="ArgumentException">A shape, type, device or number is not as said above.</exception>
    public static Tensor Forward(Tensor hidden, Tensor weight, Tensor targets, long ignoreIndex = -100, double labelSmoothing = 0, double zLoss = 0,
        Tensor? bias = null, double logitScale = 1, Tensor? tokenWeights = null)
    {
        Check(hidden, weight, targets, ignoreIndex, bias, logitScale);
        if (tokenWeights is not null) CheckTokenWeights(tokenWeights, hidden);
        if (!(labelSmoothing is >= 0 and < 1)) throw new ArgumentOutOfRangeException(nameof(labelSmoothing), labelSmoothing, $"labelSmoothing is {labelSmoothing}; expected a number in [0, 1)");
        Checks.NotNegative(zLoss);
        var backend = BackendFor(hidden);
        if (backend == KernelBackend.Cuda && tokenWeights is not null)
        {
            if (Backend == KernelBackend.Cuda)
                throw new NotSupportedException("tokenWeights is given; expected null for the Cuda back end. Auto and LibTorch compute a weighted loss on a GPU");
            backend = KernelBackend.LibTorch;
        }
        if (backend == KernelBackend.Reference)
            return LinearCrossEntropyReference.Forward(hidden, weight, targets, ignoreIndex, labelSmoothing, zLoss, bias, logitScale, tokenWeights);
        var options = new CrossEntropyOptions(ignoreIndex, labelSmoothing, zLoss, logitScale, backend);
        if (backend == KernelBackend.Cuda) return OnCard(hidden, weight, bias, targets, options);
        bool[] wanted = [is_grad_enabled() && hidden.requires_grad, is_grad_enabled() && weight.requires_grad, is_grad_enabled() && bias is { requires_grad: true }];
        return Autograd.Apply([hidden, weight, bias],
            context =>
            {
                var (loss, gradients) = ChunkedCrossEntropy.Run(hidden, weight, bias, targets, tokenWeights, options, wanted);
                context.Save(gradients);
                return [loss];
            },
            context =>
            {
                // computed already, for an incoming gradient of 1
                var incoming = context.Gradients[0]!;
                bool asIs = !LibTorch.CurrentBackwardKeepsGraph() && incoming.device_type == TorchSharp.DeviceType.CPU && incoming.to(ScalarType.Float64).item<double>() == 1;
                return [.. context.Saved.Select(gradient => gradient is null || asIs ? gradient : gradient * incoming.to(gradient.dtype))];
            })[0];
    }

    static Tensor OnCard(Tensor hidden, Tensor weight, Tensor? bias, Tensor targets, CrossEntropyOptions options)
    {
        long chunk = 0;
        return Autograd.Apply([hidden, weight, bias],
            context =>
            {
                var (losses, kept) = CrossEntropyCuda.Forward(hidden, weight, bias, targets, options);
                chunk = kept.Chunk;
                context.Save(hidden, weight, bias, targets, kept.Statistics, kept.Counted, kept.Buffer);
                return [losses.sum() / kept.Counted];
            },
            context =>
            {
                var saved = context.Saved;
                var kept = new CrossEntropyCuda.Kept(saved[4]!, saved[5]!, chunk, saved[6]!);
                bool last = !LibTorch.CurrentBackwardKeepsGraph();
                // another pass may follow, and is to find what this one found
                if (!last) kept = kept with { Buffer = empty_like(kept.Buffer) };
                return CrossEntropyCuda.Backward(saved[0]!, saved[1]!, saved[2], saved[3]!, options, kept, context.Gradients[0]!, last, context.Needs);
            })[0];
    }

    /// <summary>The cross entropy of every token by itself, in nats, without gradient.</summary>
    /// <inheritdoc cref="Forward" path="/param"/>
    /// <returns>(T) float32; 0 where the target is <paramref name="ignoreIndex"/>.</returns>
    /// <exception cref="ArgumentException">A shape, type, device or number is not as said above.</exception>
    public static Tensor TokenLosses(Tensor hidden, Tensor weight, Tensor targets, long ignoreIndex = -100, Tensor? bias = null, double logitScale = 1)
    {
        Check(hidden, weight, targets, ignoreIndex, bias, logitScale);
        var backend = BackendFor(hidden);
        if (backend == KernelBackend.Reference) return LinearCrossEntropyReference.TokenLosses(hidden, weight, targets, ignoreIndex, bias, logitScale);
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var options = new CrossEntropyOptions(ignoreIndex, 0, 0, logitScale, backend);
        var losses = backend == KernelBackend.Cuda ? CrossEntropyCuda.Forward(hidden, weight, bias, targets, options).Losses : ChunkedCrossEntropy.TokenLosses(hidden, weight, bias, targets, options);
        return losses.to(ScalarType.Float32).MoveToOuterDisposeScope();
    }

    static void CheckTokenWeights(Tensor tokenWeights, Tensor hidden)
    {
        Checks.Shape(tokenWeights, [hidden.size(0)], "one weight per token of hidden");
        Checks.Type(tokenWeights, ScalarType.Float32);
        Checks.SameDevice(tokenWeights, hidden, nameof(hidden));
        if (tokenWeights.device_type != TorchSharp.DeviceType.CPU) return;
        using var scope = NewDisposeScope();
        var values = tokenWeights.contiguous();
        foreach (float value in TensorMemory.Span<float>(values))
            if (!(value >= 0) || !float.IsFinite(value))
                throw new ArgumentOutOfRangeException(nameof(tokenWeights), value, $"tokenWeights holds {value}; expected finite numbers from 0");
        GC.KeepAlive(values);
    }

    static void Check(Tensor hidden, Tensor weight, Tensor targets, long ignoreIndex, Tensor? bias, double logitScale)
    {
        Checks.Floating(hidden);
        Checks.Shape(hidden, [-1, -1], "(tokens, width)");
        Checks.Shape(weight, [-1, hidden.size(1)], "(vocabulary, width), width as in hidden");
        Checks.Shape(targets, [hidden.size(0)], "one target per token of hidden");
        Checks.Type(targets, ScalarType.Int64);
        Checks.ParameterType(weight, hidden, nameof(hidden));
        Checks.SameDevice(weight, hidden, nameof(hidden));
        Checks.SameDevice(targets, hidden, nameof(hidden));
        if (weight.size(0) < 1) throw new ArgumentException($"weight has shape {Checks.Describe(weight)}; expected a vocabulary of at least 1", nameof(weight));
        if (bias is not null)
        {
            Checks.Shape(bias, [weight.size(0)], "one number per class of weight");
            Checks.ParameterType(bias, hidden, nameof(hidden));
            Checks.SameDevice(bias, hidden, nameof(hidden));
        }
        if (!double.IsFinite(logitScale)) throw new ArgumentOutOfRangeException(nameof(logitScale), logitScale, $"logitScale is {logitScale}; expected a finite number");
        // on CUDA reading the targets would stall the device; there a target out of range shows as a NaN loss
        if (targets.device_type != TorchSharp.DeviceType.CPU) return;
        using var scope = NewDisposeScope();
        var (values, index) = (targets.contiguous(), 0L);
        foreach (long target in TensorMemory.Span<long>(values))
        {
            if (target != ignoreIndex && (target < 0 || target >= weight.size(0)))
                throw new ArgumentOutOfRangeException(nameof(targets), target, $"targets[{index}] is {target}; expected a class in [0, {weight.size(0)}) or ignoreIndex, {ignoreIndex}");
            index++;
        }
        GC.KeepAlive(values);
    }
}
