using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Sequence;

/// <summary>
/// Computes the loss that balances the load of experts (arXiv 2101.03961, section 2.2): the number of experts times the sum over experts of the
/// fraction of choices times the mean probability.
/// </summary>
public static class LoadBalance
{
    /// <summary>
    /// Computes the loss of routers that select by softmax. Fractions and probabilities are means over the tokens of all layers. The loss is
    /// differentiable in the logits.
    /// </summary>
    /// <param name="logits">(tokens, experts) per layer.</param>
    /// <param name="expertsPerToken">The number of experts per token.</param>
    /// <param name="mask">(tokens): 0 or false at tokens that do not count. The default, null, counts all.</param>
    /// <returns>A scalar; <paramref name="expertsPerToken"/> if the load is even.</returns>
    /// <exception cref="ArgumentException">A shape does not fit. The message names the argument.</exception>
    public static Tensor Loss(IReadOnlyList<Tensor> logits, int expertsPerToken, Tensor? mask = null)
    {
        Require.Items(logits);
        if (logits.Count == 0) throw Require.Unfit(nameof(logits), "logits is empty", "a tensor per layer");
        foreach (var layer in logits)
        {
            if (layer.dim() != 2 || layer.size(0) != logits[0].size(0) || layer.size(1) != logits[0].size(1)
                || !layer.is_floating_point())
                throw Require.Unfit(nameof(logits), $"logits holds {layer.dtype} [{string.Join(", ", layer.shape)}]",
                "floating-point (tokens, experts), the same for every layer");
        }
        long tokens = logits[0].size(0), experts = logits[0].size(1);
        if (expertsPerToken < 1 || expertsPerToken > experts)
            throw Require.OutOfRange(nameof(expertsPerToken), expertsPerToken, $"1 to {experts}");
        if (mask is not null && mask.NumberOfElements != tokens)
            throw Require.Unfit(nameof(mask), $"mask is [{string.Join(", ", mask.shape)}]", $"{tokens} elements, one a token");
        using var scope = NewDisposeScope();
        var real = mask?.flatten().to(logits[0].dtype);
        var terms = logits.Select(layer =>
        {
            var scores = layer.softmax(-1);
            return Terms(scores, scores.detach().topk(expertsPerToken, -1).indexes, real);
        });
        return Loss([.. terms]).MoveToOuterDisposeScope();
    }

    /// <summary>Returns (2, experts): the fraction of tokens that selected each expert, and its mean score.</summary>
    internal static Tensor Terms(Tensor scores, Tensor chosen, Tensor? real)
    {
        var visits = nn.functional.one_hot(chosen, scores.size(-1)).sum(1).to(scores.dtype);
        return stack([MeanOver(visits, real), MeanOver(scores, real)], 0);
    }

    /// <summary>Returns the loss of layers with these terms.</summary>
    internal static Tensor Loss(IReadOnlyList<Tensor> terms)
    {
        var mean = terms.Count == 1 ? terms[0] : stack([.. terms], 0).mean([0]);
        return (mean.select(0, 0) * mean.select(0, 1)).sum().mul(Scalars.From((long)mean.size(1)));
    }

    /// <summary>Returns the mean of (T, n) over the tokens that are not padding: (n).</summary>
    internal static Tensor MeanOver(Tensor values, Tensor? real) =>
        real is null ? values.mean([0]) : (values * real.unsqueeze(-1)).sum(dim: 0) / real.sum().clamp_min(Scalars.One);
}
