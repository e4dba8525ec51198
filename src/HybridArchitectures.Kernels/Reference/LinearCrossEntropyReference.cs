using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Reference;

/// <summary>
/// Implements the formula of <see cref="Operators.LinearCrossEntropy"/> with all logits in memory, for any floating-point dtype and device, with
/// libtorch's gradients.
/// </summary>
public static class LinearCrossEntropyReference
{
    /// <summary>Computes the operator.</summary>
    /// <inheritdoc cref="Operators.LinearCrossEntropy.Forward"/>
    public static Tensor Forward(Tensor hidden, Tensor weight, Tensor targets, long ignoreIndex = -100, double labelSmoothing = 0, double zLoss = 0,
        Tensor? bias = null, double logitScale = 1, Tensor? tokenWeights = null, double? logitCap = null)
    {
        CheckPresent(hidden, weight, targets);
        using var scope = NewDisposeScope();
        var logits = Logits(hidden, weight, bias, logitScale, logitCap);
        var kept = targets.ne(Scalars.From(ignoreIndex));
        var normalizer = logits.logsumexp(-1);
        var target = logits.gather(-1, targets.masked_fill(kept.logical_not(), Scalars.Zero).unsqueeze(-1)).squeeze(-1);
        var losses = (normalizer - target * Scalars.From(1 - labelSmoothing) - logits.mean([-1]) * Scalars.From(labelSmoothing)).add(
            normalizer * normalizer, Scalars.From(zLoss));
        if (tokenWeights is not null)
        {
            var counted = tokenWeights.to(losses.dtype).masked_fill(kept.logical_not(), Scalars.Zero);
            var weighted = losses.masked_fill(kept.logical_not(), Scalars.Zero).mul(counted).sum();
            var total = counted.sum();
            return weighted.div(total.masked_fill(total.eq(Scalars.Zero), Scalars.One)).MoveToOuterDisposeScope();
        }
        var sum = losses.masked_fill(kept.logical_not(), Scalars.Zero).sum();
        return (sum / kept.sum().clamp_min(Scalars.One)).MoveToOuterDisposeScope();
    }

    /// <summary>Computes the loss of each token.</summary>
    /// <inheritdoc cref="Operators.LinearCrossEntropy.TokenLosses"/>
    public static Tensor TokenLosses(
        Tensor hidden, Tensor weight, Tensor targets, long ignoreIndex = -100, Tensor? bias = null, double logitScale = 1,
        double? logitCap = null)
    {
        CheckPresent(hidden, weight, targets);
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var logits = Logits(hidden, weight, bias, logitScale, logitCap);
        var ignored = targets.eq(Scalars.From(ignoreIndex));
        var target = logits.gather(-1, targets.masked_fill(ignored, Scalars.Zero).unsqueeze(-1)).squeeze(-1);
        return (logits.logsumexp(-1) - target).masked_fill(ignored, Scalars.Zero).to(ScalarType.Float32).MoveToOuterDisposeScope();
    }

    static void CheckPresent(Tensor hidden, Tensor weight, Tensor targets)
    {
        Require.Alive(hidden);
        Require.Alive(weight);
        Require.Alive(targets);
    }

    static Tensor Logits(Tensor hidden, Tensor weight, Tensor? bias, double logitScale, double? logitCap)
    {
        var logits = Precision.Widen(nn.functional.linear(hidden, weight.to(hidden.dtype), bias?.to(hidden.dtype))) * Scalars.From(logitScale);
        return logitCap is { } cap ? (logits / Scalars.From(cap)).tanh() * Scalars.From(cap) : logits;
    }
}
