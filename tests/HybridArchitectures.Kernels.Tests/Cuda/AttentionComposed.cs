using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>Attention as one would compose it of operators in the tensors' type, which the kernels are compared with.</summary>
static class AttentionComposed
{
    /// <summary>Scores and probabilities in the tensors' type, all of them in memory; a query that sees nothing gives 0.</summary>
    public static Tensor Forward(Tensor query, Tensor key, Tensor value, double? scale, Tensor visible)
    {
        Tensor Repeated(Tensor x) => x.repeat_interleave(query.size(2) / x.size(2), 2);
        var hidden = visible.logical_not().unsqueeze(1);
        var scores = einsum("blhd,bshd->bhls", query, Repeated(key)) * (scale ?? 1 / Math.Sqrt(query.size(3)));
        return einsum("bhls,bshe->blhe", scores.masked_fill(hidden, -1e30).softmax(-1).masked_fill(hidden, 0), Repeated(value));
    }

    /// <summary>Holds <see cref="FusedAttention"/> in bfloat16, output and gradients, to twice the error of the composed operators.</summary>
    public static void ErrsAtMostTwice(Tensor[] inputs, double? scale, int? window, int sinks, AttentionPositions? positions)
    {
        using var scope = NewDisposeScope();
        var visible = AttentionReference.Visible(inputs[0].size(1), inputs[1].size(1), window, sinks, positions, inputs[0].device);
        // what pads give is of no concern
        var real = positions is null ? null : visible.any(-1).unsqueeze(-1).unsqueeze(-1);
        Tensor Real(Tensor output) => real is null ? output : output.masked_fill(real.logical_not(), 0);
        OperatorCheck.BFloat16IsAsGoodAsComposed(i => Real(FusedAttention.Forward(i[0]!, i[1]!, i[2]!, scale, window, sinks, positions)),
            i => Real(Forward(i[0]!, i[1]!, i[2]!, scale, visible)), i =>
                Real(AttentionReference.Forward(i[0]!, i[1]!, i[2]!, scale, window, sinks, positions)), inputs);
    }
}
