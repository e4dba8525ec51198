namespace HybridArchitectures.Design;

/// <summary>
/// A transformer layer that several blocks use with one set of weights (arXiv 2405.16712 and 2411.15242): feedForward(norm(attention(norm([x, embedded tokens])))), without residual connections of its
/// own. Which blocks use it, and what each adds of its own, says <see cref="BlockSpec.Shared"/>.
/// </summary>
public sealed record SharedTransformerSpec
{
    /// <summary>Its attention; sizes left at 0: query heads that together are as wide as its input.</summary>
    public required AttentionSpec Attention { get; init; }

    /// <summary>Its feed-forward.</summary>
    public required SwiGluSpec FeedForward { get; init; }

    /// <summary>Beside the residual stream it reads what the first block read, the embedded tokens, so that its input is twice as wide.</summary>
    public bool ReadsEmbedding { get; init; } = true;

    /// <summary>Epsilon of its two norms.</summary>
    public double NormEpsilon { get; init; } = 1e-5;

    /// <summary>Channels of its input in a model of this width.</summary>
    public int InputWidth(int width) => ReadsEmbedding ? 2 * width : width;

    /// <summary>Trainable parameters, norms included; they count once however many blocks use them.</summary>
    public long CountParameters(int width) =>
        (long)InputWidth(width) + Attention.CountInputParameters(InputWidth(width)) + Attention.CountOutputParameters(width) + width + FeedForward.CountParameters(width);

    internal SharedTransformerSpec Resolve(int width) => this with { Attention = Attention?.Resolve(width, InputWidth(width), 0)!, FeedForward = (SwiGluSpec)FeedForward?.Resolve(width)! };

    internal void Check(int width)
    {
        Require.Present(Attention, "attention", "an AttentionSpec");
        Require.Present(FeedForward, "feedForward", "a SwiGluSpec");
        Require.Within("attention", () => Attention.Check(InputWidth(width)));
        Require.Within("feed-forward", () => FeedForward.Check(width));
        Require.Positive(NormEpsilon, "normEpsilon");
    }
}
