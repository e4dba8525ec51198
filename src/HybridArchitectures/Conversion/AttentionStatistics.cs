using HybridArchitectures.Design;
using HybridArchitectures.Models;
using static TorchSharp.torch;

namespace HybridArchitectures.Conversion;

/// <summary>Contains statistics of the attention layers of a model on a text, from which new layers are initialised.</summary>
/// <param name="Layers">The statistics of the layers whose mixer is attention, in order.</param>
/// <example>
/// <code>
/// using HybridLanguageModel model = HybridDesign.Create(width: 64, vocabularySize: 256).WithAttention(heads: 4)
///     .WithFeedForward(FeedForwardSpec.SwiGlu(96)).Depth(2).Build().CreateModel(seed: 0);
/// using Tensor ids = randint(256, [2, 64], ScalarType.Int64);
/// AttentionStatistics statistics = AttentionStatistics.Measure(model, ids);
/// Console.WriteLine($"{statistics.Layers[0].MeanDistances[0]:0.0} tokens");
/// </code>
/// </example>
public sealed record AttentionStatistics(EquatableList<LayerAttention> Layers)
{
    /// <summary>Reads a text once. The attention of a head on one row is in memory at a time: 4 bytes x length x length.</summary>
    /// <param name="model">The model. It is not changed.</param>
    /// <param name="ids">Token ids, (batch, length) int64 on the device of the model.</param>
    /// <exception cref="ArgumentException">The ids are not token ids of the model, or the design has no attention layer.</exception>
    public static AttentionStatistics Measure(HybridLanguageModel model, Tensor ids)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(ids);
        if (!model.Design.Blocks.Any(block => block.Mixer is AttentionSpec))
            throw Require.Unfit(nameof(model), $"model has the pattern {model.Design.Pattern}", "a layer whose mixer is attention");
        if (ids.dim() != 2 || ids.NumberOfElements == 0)
            throw Require.Unfit(nameof(ids), $"ids is [{string.Join(", ", ids.shape)}]", "(batch, length) with at least 1 token");
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var probe = new AttentionProbe(model);
        using var context = probe.CreateContext();
        model.Hidden(ids, context);
        return new AttentionStatistics(new EquatableList<LayerAttention>([.. probe.Layers]));
    }
}
