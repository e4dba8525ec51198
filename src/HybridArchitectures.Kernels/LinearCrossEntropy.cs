using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>A language model's head and its cross entropy as one operator.</summary>
public static class LinearCrossEntropy
{
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
    /// <returns>One number, float32 (float64 for float64 input).</returns>
    /// <exception cref="ArgumentException">A shape, type, device or number is not as said above.</exception>
    public static Tensor Forward(Tensor hidden, Tensor weight, Tensor targets, long ignoreIndex = -100, double labelSmoothing = 0, double zLoss = 0,
        Tensor? bias = null, double logitScale = 1)
    {
        Check(hidden, weight, targets, ignoreIndex, bias, logitScale);
        if (!(labelSmoothing is >= 0 and < 1)) throw new ArgumentOutOfRangeException(nameof(labelSmoothing), labelSmoothing, $"labelSmoothing is {labelSmoothing}; expected a number in [0, 1)");
        Checks.NotNegative(zLoss);
        return LinearCrossEntropyReference.Forward(hidden, weight, targets, ignoreIndex, labelSmoothing, zLoss, bias, logitScale);
    }

    /// <summary>The cross entropy of every token by itself, in nats, without gradient.</summary>
    /// <inheritdoc cref="Forward" path="/param"/>
    /// <returns>(T) float32; 0 where the target is <paramref name="ignoreIndex"/>.</returns>
    /// <exception cref="ArgumentException">A shape, type, device or number is not as said above.</exception>
    public static Tensor TokenLosses(Tensor hidden, Tensor weight, Tensor targets, long ignoreIndex = -100, Tensor? bias = null, double logitScale = 1)
    {
        Check(hidden, weight, targets, ignoreIndex, bias, logitScale);
        return LinearCrossEntropyReference.TokenLosses(hidden, weight, targets, ignoreIndex, bias, logitScale);
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
        // on CUDA reading the targets would stall the device; there a target out of range shows as a NaN loss or a device assertion
        if (targets.device_type != TorchSharp.DeviceType.CPU) return;
        using var scope = NewDisposeScope();
        var (values, index) = (targets.contiguous(), 0L);
        foreach (long target in Runtime.TensorMemory.Span<long>(values))
        {
            if (target != ignoreIndex && (target < 0 || target >= weight.size(0)))
                throw new ArgumentOutOfRangeException(nameof(targets), target, $"targets[{index}] is {target}; expected a class in [0, {weight.size(0)}) or ignoreIndex, {ignoreIndex}");
            index++;
        }
        GC.KeepAlive(values);
    }
}
