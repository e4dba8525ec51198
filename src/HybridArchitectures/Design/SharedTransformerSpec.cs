namespace HybridArchitectures.Design;

/// <summary>
/// Describes a transformer layer that several blocks use with one set of weights (arXiv 2405.16712 and 2411.15242):
/// feedForward(norm(attention(norm([x, embedded tokens])))), without residual connections. <see cref="BlockSpec.Shared"/> describes which blocks use
/// it and what each use adds.
/// </summary>
public sealed record SharedTransformerSpec
{
    /// <summary>Gets or sets the attention. Sizes that are 0 are derived so that the query heads together are as wide as the input.</summary>
    public required AttentionSpec Attention { get; init; }

    /// <summary>Gets or sets the feed-forward.</summary>
    public required SwiGluSpec FeedForward { get; init; }

    /// <summary>
    /// Gets or sets whether the input also contains the embedded tokens, which are the input of the first block. The input is then twice as wide. The
    /// default is true.
    /// </summary>
    public bool ReadsEmbedding { get; init; } = true;

    /// <summary>Gets or sets the epsilon of the two norms. The default is 1e-5.</summary>
    public double NormEpsilon { get; init; } = 1e-5;

    /// <summary>Returns the width of the input in a model of the given width.</summary>
    public int InputWidth(int width) => ReadsEmbedding ? 2 * width : width;

    /// <summary>Returns the number of trainable parameters, including norms. They count once, regardless of the number of uses.</summary>
    public long CountParameters(int width) =>
        (long)InputWidth(width) + Attention.CountInputParameters(InputWidth(width)) + Attention.CountOutputParameters(width) + width
            + FeedForward.CountParameters(width);

    internal SharedTransformerSpec Resolve(int width) =>
        this with { Attention = Attention?.Resolve(width, InputWidth(width), 0)!, FeedForward = (SwiGluSpec)FeedForward?.Resolve(width)! };

    internal void Check(int width)
    {
        Require.Present(Attention, "attention", "an AttentionSpec");
        Require.Present(FeedForward, "feedForward", "a SwiGluSpec");
        Require.Within("attention", () => Attention.Check(InputWidth(width)));
        Require.Within("feed-forward", () => FeedForward.Check(width));
        Require.Positive(NormEpsilon, "normEpsilon");
    }
}
