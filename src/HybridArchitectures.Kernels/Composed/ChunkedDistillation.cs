using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Composed;

/// <summary>
/// Computes linear distillation over chunks of tokens.
/// <para>1. The logits of the student and of the teacher for a chunk are two matrix products.</para>
/// <para>
/// 2. The gradient with respect to the logits of the student is (1 - share)(q - target) + share T (q_T - p_T), where p_T and q_T are the
/// distributions of teacher and student at temperature T, and q = q_1.
/// </para>
/// <para>3. Its products with weight and hidden are the gradients. Nothing of a chunk remains for the backward pass.</para>
/// </summary>
static class ChunkedDistillation
{
    /// <summary>Returns the loss, the cross entropy, and the needed gradients of hidden and weight for an incoming gradient of 1.</summary>
    public static (Tensor Total, Tensor CrossEntropy, LossGradients Gradients) Run(DistillationInputs inputs, bool needsHidden, bool needsWeight)
    {
        var (hidden, weight) = (inputs.Hidden, inputs.Weight);
        var wide = Precision.Wide(hidden);
        var (head, teacherHead) = (weight.to(hidden.dtype), inputs.TeacherWeight.to(inputs.TeacherHidden.dtype));
        var shares = Shares(inputs, wide);
        var losses = empty([2, inputs.Tokens], wide, hidden.device);             // divergence, cross entropy
        var dHidden = needsHidden ? empty([inputs.Tokens, hidden.size(1)], hidden.dtype, hidden.device) : null;
        var dWeight = needsWeight ? zeros([weight.size(0), weight.size(1)], wide, hidden.device) : null;
        // a chunk stores the logits of both models
        foreach (var (start, count) in ChunkedCrossEntropy.Chunks(inputs.Tokens, 2 * inputs.Classes, hidden.device_type))
        {
            using var scope = NewDisposeScope();
            Tensor Part(Tensor all) => all.narrow(0, start, count);
            var part = Part(hidden);
            var logits = Precision.Widen(nn.functional.linear(part, head));
            var (slope, rest) = ChunkedCrossEntropy.Cap(logits, inputs.StudentOptions, needsHidden || needsWeight);
            logits.mul_(Scalars.From(rest.LogitScale));
            var expected = Precision.Widen(nn.functional.linear(Part(inputs.TeacherHidden), teacherHead)).to(wide);
            var (_, teacherRest) = ChunkedCrossEntropy.Cap(expected, inputs.TeacherOptions, false);
            expected.mul_(Scalars.From(teacherRest.LogitScale / inputs.Temperature));
            var gradient = Rows(inputs, logits, expected, Part(inputs.Targets), losses.narrow(1, start, count), needsHidden || needsWeight);
            if (gradient is null) continue;
            gradient.mul_(Part(shares).unsqueeze(-1)).mul_(Scalars.From(rest.LogitScale));
            var dLogits = (slope is null ? gradient : gradient.mul_(slope)).to(hidden.dtype);
            if (dHidden is not null) TorchOperator.Call("aten::mm", "out", dLogits, head, Part(dHidden));
            if (dWeight is not null) ChunkedCrossEntropy.AddProduct(dWeight, dLogits, part);
        }
        losses.mul_(shares);
        var (divergence, crossEntropy) = (losses[0].sum(), losses[1].sum());
        var total = divergence.mul(Scalars.From(inputs.DivergenceFactor)).add(crossEntropy, Scalars.From(1 - inputs.Share));
        return (total, crossEntropy, new(dHidden, dWeight?.to(weight.dtype), null));
    }

    // the share of each token in the mean; 0 for tokens that do not count
    static Tensor Shares(DistillationInputs inputs, ScalarType wide)
    {
        var ignored = inputs.Targets.eq(Scalars.From(inputs.IgnoreIndex));
        var weights = (inputs.TokenWeights?.to(wide) ?? ones([inputs.Tokens], wide, inputs.Hidden.device)).masked_fill(ignored, Scalars.Zero);
        return weights / ChunkedCrossEntropy.WithoutZero(weights.sum());
    }

    // writes the losses of each row, and returns the gradient of a row's loss with respect to its logits; `expected` are logits at the temperature
    static Tensor? Rows(DistillationInputs inputs, Tensor logits, Tensor expected, Tensor targets, Tensor losses, bool differentiates)
    {
        bool isCold = inputs.Temperature == 1;
        var target = targets.masked_fill(targets.eq(Scalars.From(inputs.IgnoreIndex)), Scalars.Zero).unsqueeze(-1);
        var teacher = expected.sub_(expected.logsumexp(-1, true));                                              // log p_T
        var warm = isCold ? null : logits.mul(Scalars.From(1 / inputs.Temperature));
        var plain = logits.sub_(logits.logsumexp(-1, true));                                                    // log q
        var student = warm is null ? plain : warm.sub_(warm.logsumexp(-1, true));                               // log q_T
        losses[1].copy_(plain.gather(-1, target).squeeze(-1).neg_());
        var p = teacher.exp();
        losses[0].copy_(teacher.sub_(student).mul_(p).sum(-1));
        if (!differentiates) return null;
        // d (T^2 KL) / d logits = T (q_T - p_T)
        var gradient = student.exp().sub_(p).mul_(Scalars.From(inputs.Share * inputs.Temperature));
        if (inputs.Share == 1) return gradient;
        var entropy = plain.exp_();
        entropy.scatter_add_(-1, target, full_like(losses[1].unsqueeze(-1), Scalars.MinusOne));
        return gradient.add_(entropy, Scalars.From(1 - inputs.Share));
    }
}
