using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Reference;

/// <summary>
/// Implements the formula of <see cref="Operators.LinearDistillation"/> with all logits in memory, for any floating-point dtype and device, with
/// libtorch's gradients.
/// </summary>
public static class LinearDistillationReference
{
    /// <summary>Computes the operator.</summary>
    /// <inheritdoc cref="Operators.LinearDistillation.Forward"/>
    public static (Tensor Total, Tensor CrossEntropy) Forward(Tensor hidden, Tensor weight, Tensor teacherHidden, Tensor teacherWeight,
        Tensor targets, double share = 0.5, double temperature = 1, long ignoreIndex = -100, double logitScale = 1, double teacherLogitScale = 1,
        Tensor? tokenWeights = null, double? logitCap = null, double? teacherLogitCap = null)
    {
        Require.Alive(hidden);
        Require.Alive(weight);
        Require.Alive(teacherHidden);
        Require.Alive(teacherWeight);
        Require.Alive(targets);
        using var scope = NewDisposeScope();
        var logits = Logits(hidden, weight, logitScale, logitCap);
        var ignored = targets.eq(Scalars.From(ignoreIndex));
        var weights = (tokenWeights?.to(logits.dtype) ?? ones([targets.size(0)], logits.dtype, logits.device)).masked_fill(ignored, Scalars.Zero);
        var sum = weights.sum();
        var shares = weights / sum.masked_fill(sum.eq(Scalars.Zero), Scalars.One);
        var target = targets.masked_fill(ignored, Scalars.Zero).unsqueeze(-1);
        var crossEntropy = logits.log_softmax(-1).gather(-1, target).squeeze(-1).neg().mul(shares).sum();
        var inverse = Scalars.From(1 / temperature);
        var p = Logits(teacherHidden, teacherWeight, teacherLogitScale, teacherLogitCap).detach().to(logits.dtype).mul(inverse).log_softmax(-1);
        var q = logits.mul(inverse).log_softmax(-1);
        var divergence = (p.exp() * (p - q)).sum(-1).mul(shares).sum();
        var total = divergence.mul(Scalars.From(share * temperature * temperature)).add(crossEntropy, Scalars.From(1 - share));
        return (total.MoveToOuterDisposeScope(), crossEntropy.detach().MoveToOuterDisposeScope());
    }

    static Tensor Logits(Tensor hidden, Tensor weight, double scale, double? cap)
    {
        var logits = Precision.Widen(nn.functional.linear(hidden, weight.to(hidden.dtype))) * Scalars.From(scale);
        return cap is { } bound ? logits.div(Scalars.From(bound)).tanh().mul(Scalars.From(bound)) : logits;
    }
}
