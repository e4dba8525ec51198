
namespace HybridArchitectures.Design;

/// <summary>
/// Describes how a block uses a <see cref="SharedTransformerSpec"/>. The transformer reads the residual stream. Its output is projected by weights of
/// the block and added to the input of the mixer's norm. The residual stream does not change. Low-rank adapters (arXiv 2106.09685) make each use
/// different.
/// </summary>
public sealed record SharedTransformerUse
{
    /// <summary>Gets or sets the index in <see cref="HybridDesign.SharedTransformers"/>, counted from 0.</summary>
    public int Transformer { get; init; }

    /// <summary>Gets or sets the rank of the adapters on queries, keys and values. The default, 0, means none.</summary>
    public int AttentionAdapterRank { get; init; }

    /// <summary>Gets or sets the rank of the common adapter on gate and up. The default, 0, means none.</summary>
    public int FeedForwardAdapterRank { get; init; }

    /// <summary>Returns the number of trainable parameters that this use adds: adapters and projection.</summary>
    public long CountParameters(SharedTransformerSpec transformer, int width)
    {
        ArgumentNullException.ThrowIfNull(transformer);
        var attention = transformer.Attention;
        long input = transformer.InputWidth(width), outputs = (long)attention.QueryProjectionWidth + attention.KeyWidth + attention.ValueWidth;
        return AttentionAdapterRank * (3 * input + outputs) + FeedForwardAdapterRank * (width + 2L * transformer.FeedForward.Width)
            + (long)width * width;
    }

    internal void Check(HybridDesign design)
    {
        Require.That(Transformer >= 0 && Transformer < design.SharedTransformers.Count, "transformer", Transformer,
            design.SharedTransformers.Count == 0 ? "none, because the design has no shared transformers"
            : $"0 to {design.SharedTransformers.Count - 1}");
        Require.That(
            AttentionAdapterRank is >= 0 and <= Require.MaxSize, "attentionAdapterRank", AttentionAdapterRank, $"0 to {Require.MaxSize}");
        Require.That(
            FeedForwardAdapterRank is >= 0 and <= Require.MaxSize, "feedForwardAdapterRank", FeedForwardAdapterRank, $"0 to {Require.MaxSize}");
    }
}
