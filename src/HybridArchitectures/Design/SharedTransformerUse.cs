namespace HybridArchitectures.Design;

/// <summary>
/// A block's use of a <see cref="SharedTransformerSpec"/>: what the transformer makes of the residual stream, projected by weights of the block's own, is added to the input of the mixer's norm; the
/// residual stream itself does not change. Low-rank adapters (arXiv 2106.09685) on its projections, also the block's own, let every use differ.
/// </summary>
public sealed record SharedTransformerUse
{
    /// <summary>Which of <see cref="HybridDesign.SharedTransformers"/>, from 0.</summary>
    public int Transformer { get; init; }

    /// <summary>Rank of the adapters on queries, keys and values; 0: none.</summary>
    public int AttentionAdapterRank { get; init; }

    /// <summary>Rank of the adapter on gate and up, which have one together; 0: none.</summary>
    public int FeedForwardAdapterRank { get; init; }

    /// <summary>Trainable parameters that this use adds: adapters and projection.</summary>
    public long CountParameters(SharedTransformerSpec transformer, int width)
    {
        ArgumentNullException.ThrowIfNull(transformer);
        var attention = transformer.Attention;
        long input = transformer.InputWidth(width), outputs = (long)attention.QueryProjectionWidth + attention.KeyWidth + attention.ValueWidth;
        return AttentionAdapterRank * (3 * input + outputs) + FeedForwardAdapterRank * (width + 2L * transformer.FeedForward.Width) + (long)width * width;
    }

    internal void Check(HybridDesign design)
    {
        Require.That(Transformer >= 0 && Transformer < design.SharedTransformers.Count, "transformer", Transformer,
            design.SharedTransformers.Count == 0 ? "none, since the design has no shared transformers" : $"0 to {design.SharedTransformers.Count - 1}");
        Require.That(AttentionAdapterRank is >= 0 and <= Require.MaxSize, "attentionAdapterRank", AttentionAdapterRank, $"0 to {Require.MaxSize}");
        Require.That(FeedForwardAdapterRank is >= 0 and <= Require.MaxSize, "feedForwardAdapterRank", FeedForwardAdapterRank, $"0 to {Require.MaxSize}");
    }
}
