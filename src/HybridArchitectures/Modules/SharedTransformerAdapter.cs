using HybridArchitectures.Design;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>Represents the parameters that a block adds to a shared transformer: adapters, and the projection of the result.</summary>
public sealed class SharedTransformerAdapter : HybridModule
{
    readonly AttentionAdapters? attention;
    readonly LowRankAdapter? feedForward;
    readonly Linear output;

    /// <summary>Creates the use of a transformer by a block. The transformer is not a child of it.</summary>
    public SharedTransformerAdapter(ModuleFactory factory, SharedTransformerUse use, SharedTransformer transformer) : base(
        nameof(SharedTransformerAdapter))
    {
        ArgumentNullException.ThrowIfNull(factory);
        ArgumentNullException.ThrowIfNull(use);
        ArgumentNullException.ThrowIfNull(transformer);
        Transformer = transformer;
        var spec = transformer.Spec;
        int inputs = spec.InputWidth(factory.Width);
        LowRankAdapter Adapter(string name, int outputs) => Add(name, new LowRankAdapter(factory, outputs, inputs, use.AttentionAdapterRank));
        if (use.AttentionAdapterRank > 0)
            attention = new(Adapter("query_adapter", spec.Attention.QueryProjectionWidth), Adapter("key_adapter", spec.Attention.KeyWidth),
                Adapter("value_adapter", spec.Attention.ValueWidth));
        if (use.FeedForwardAdapterRank > 0)
            feedForward = Add("feed_forward_adapter",
                new LowRankAdapter(factory, 2L * spec.FeedForward.Width, factory.Width, use.FeedForwardAdapterRank));
        output = Add("output", new Linear(factory.Projection(factory.Width, factory.Width)));
    }

    /// <summary>Gets the shared transformer.</summary>
    public SharedTransformer Transformer { get; }

    /// <summary>Computes the value to add to the input of the mixer, (batch, length, width).</summary>
    public Tensor Forward(Tensor x, SequenceContext context, MixerState? state)
    {
        ModuleChecks.Input(x, (int)output.Weight.size(1), context);
        return output.Forward(Transformer.Forward(x, context, state, attention, feedForward));
    }
}
