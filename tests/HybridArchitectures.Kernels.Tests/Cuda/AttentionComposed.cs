using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>Composes attention of operators in the dtype of the tensors. The kernels are compared with it.</summary>
static class AttentionComposed
{
    /// <summary>Scores and probabilities in the type of the tensors, all of them in memory. The output of a query that sees nothing is 0.</summary>
    public static Tensor Forward(Tensor query, Tensor key, Tensor value, double? scale, Tensor visible, double? softcap = null,
        Tensor? sinkLogits = null)
    {
        Tensor Repeated(Tensor x) => x.repeat_interleave(query.size(2) / x.size(2), 2);
        var hidden = visible.logical_not().unsqueeze(1);
        var scores = einsum("blhd,bshd->bhls", query, Repeated(key)) * (scale ?? 1 / Math.Sqrt(query.size(3)));
        if (softcap is { } cap) scores = (scores / cap).tanh() * cap;
        scores = scores.masked_fill(hidden, -1e30);
        if (sinkLogits is not null)
            scores = cat([scores, sinkLogits.to(scores.dtype).reshape(1, -1, 1, 1).expand(scores.size(0), scores.size(1), scores.size(2), 1)], -1);
        return einsum("bhls,bshe->blhe", scores.softmax(-1).narrow(-1, 0, key.size(1)).masked_fill(hidden, 0), Repeated(value));
    }

    /// <summary>Checks the same as <see cref="ErrsAtMostTwice"/>, with capped scores, sink logits, or both. The logits are a fourth input.</summary>
    public static void ErrsAtMostTwiceCapped(Tensor[] inputs, double? softcap, int? window = null, int sinks = 0)
    {
        using var scope = NewDisposeScope();
        var visible = AttentionReference.Visible(inputs[0].size(1), inputs[1].size(1), window, sinks, null, inputs[0].device);
        Tensor? Logits(IReadOnlyList<Tensor?> i) => i.Count > 3 ? i[3] : null;
        OperatorCheck.BFloat16IsAsGoodAsComposed(
            i => FusedAttention.Forward(i[0]!, i[1]!, i[2]!, null, window, sinks, null, softcap, Logits(i)),
            i => Forward(i[0]!, i[1]!, i[2]!, null, visible, softcap, Logits(i)),
            i => AttentionReference.Forward(i[0]!, i[1]!, i[2]!, null, window, sinks, null, softcap, Logits(i)), inputs, 3);
    }

    /// <summary>Holds <see cref="FusedAttention"/> in bfloat16, output and gradients, to twice the error of the composed operators.</summary>
    public static void ErrsAtMostTwice(Tensor[] inputs, double? scale, int? window, int sinks, AttentionPositions? positions)
    {
        using var scope = NewDisposeScope();
        var visible = AttentionReference.Visible(inputs[0].size(1), inputs[1].size(1), window, sinks, positions, inputs[0].device);
        // results at padding do not matter
        var real = positions is null ? null : visible.any(-1).unsqueeze(-1).unsqueeze(-1);
        Tensor Real(Tensor output) => real is null ? output : output.masked_fill(real.logical_not(), 0);
        OperatorCheck.BFloat16IsAsGoodAsComposed(i => Real(FusedAttention.Forward(i[0]!, i[1]!, i[2]!, scale, window, sinks, positions)),
            i => Real(Forward(i[0]!, i[1]!, i[2]!, scale, visible)), i =>
                Real(AttentionReference.Forward(i[0]!, i[1]!, i[2]!, scale, window, sinks, positions)), inputs);
    }

    /// <summary>
    /// Holds the output of <see cref="FusedAttention"/> in bfloat16, without gradients, to twice the error of the composed operators. The logits are
    /// a fourth input.
    /// </summary>
    public static void OutputErrsAtMostTwice(Tensor[] inputs, double? scale = null, int? window = null, int sinks = 0,
        AttentionPositions? positions = null, double? softcap = null)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var narrow = inputs.Select(x => x.to(ScalarType.BFloat16)).ToArray();
        var exact = narrow.Select(x => x.to(ScalarType.Float64)).ToArray();
        Tensor? Logits(Tensor[] from) => from.Length > 3 ? from[3] : null;
        var visible = AttentionReference.Visible(inputs[0].size(1), inputs[1].size(1), window, sinks, positions, inputs[0].device);
        var padding = positions is null ? null : visible.any(-1).unsqueeze(-1).unsqueeze(-1).logical_not();
        Tensor Real(Tensor output) => padding is null ? output : output.masked_fill(padding, 0);
        OperatorCheck.ErrsAtMostTwice("the output",
            Real(FusedAttention.Forward(narrow[0], narrow[1], narrow[2], scale, window, sinks, positions, softcap, Logits(narrow))),
            Real(Forward(narrow[0], narrow[1], narrow[2], scale, visible, softcap, Logits(narrow))),
            Real(AttentionReference.Forward(exact[0], exact[1], exact[2], scale, window, sinks, positions, softcap, Logits(exact))));
    }

    /// <summary>
    /// Compares the gradients with those of the formula in float64 that rounds where the kernels round: probabilities, slopes of the scores, and
    /// results, given the kernels' own output. What is left are numbers halfway between two neighbours, which differ by 4e-3, that fall to either
    /// side.
    /// </summary>
    public static void GradientsAreThoseOfTheFormulaWithItsRoundings(Tensor[] inputs, double? scale, int? window, int sinks)
    {
        using var scope = NewDisposeScope();
        static Tensor Rounded(Tensor x) => x.to(ScalarType.BFloat16).to(ScalarType.Float64);
        var narrow = inputs.Select(Rounded).ToArray();
        var actual = OperatorCheck.Run(i => FusedAttention.Forward(i[0]!, i[1]!, i[2]!, scale, window, sinks), narrow, ScalarType.BFloat16);
        long perHead = narrow[0].size(2) / narrow[1].size(2), queries = narrow[0].size(1), keys = narrow[1].size(1);
        Tensor Repeated(Tensor x) => x.repeat_interleave(perHead, 2);
        Tensor Summed(Tensor x) => x.unflatten(2, x.size(2) / perHead, perHead).sum(3);
        var (q, k, v, factor) = (narrow[0], Repeated(narrow[1]), Repeated(narrow[2]), scale ?? 1 / Math.Sqrt(narrow[0].size(3)));
        var hidden = AttentionReference.Visible(queries, keys, window, sinks, null, q.device).logical_not().unsqueeze(1);
        var scores = (einsum("blhd,bshd->bhls", q, k) * factor).masked_fill(hidden, -1e30);
        var probabilities = Rounded(scores.softmax(-1).masked_fill(hidden, 0));
        var direction = OperatorCheck.Direction(actual[0]).to(ScalarType.Float64);
        var delta = (actual[0] * direction).sum(-1).transpose(1, 2).unsqueeze(-1);
        var slopes = Rounded(probabilities * (einsum("blhe,bshe->bhls", direction, v) - delta));
        Tensor[] expected = [einsum("bhls,bshd->blhd", slopes, k) * factor, Summed(einsum("bhls,blhd->bshd", slopes, q)) * factor,
            Summed(einsum("bhls,blhe->bshe", probabilities, direction))];
        for (int i = 0; i < 3; i++)
        {
            double size = expected[i].square().mean().sqrt().item<double>();
            double error = (actual[i + 1] - Rounded(expected[i])).square().mean().sqrt().item<double>();
            Assert.True(error <= 2e-3 * size, $"gradient of input {i}: {error / size:g3} of {size:g3} off the formula with its roundings");
        }
    }
}
