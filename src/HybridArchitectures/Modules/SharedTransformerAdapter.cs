using HybridArchitectures.Design;
using HybridArchitectures.Models;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>What a block adds of its own to a transformer it shares with others: adapters, and the projection of the result.</summary>
public sealed class SharedTransformerAdapter : HybridModule
{
    readonly AttentionAdapters? attention;
    readonly LowRankAdapter? feedForward;
    readonly Linear output;

    /// <summary>A block's use of a transformer, which is no child of it.</summary>
    public SharedTransformerAdapter(ModuleFactory factory, SharedTransformerUse use, SharedTransformer transformer) : base(nameof(SharedTransformerAdapter))
    {
        ArgumentNullException.ThrowIfNull(factory);
        ArgumentNullException.ThrowIfNull(use);
        ArgumentNullException.ThrowIfNull(transformer);
        Transformer = transformer;
        var spec = transformer.Spec;
        int inputs = spec.InputWidth(factory.Width);
        LowRankAdapter Adapter(string name, int outputs) => Add(name, new LowRankAdapter(factory, outputs, inputs, use.AttentionAdapterRank));
        if (use.AttentionAdapterRank > 0)
            attention = new(Adapter("query_adapter", spec.Attention.QueryProjectionWidth), Adapter("key_adapter", spec.Attention.KeyWidth), Adapter("value_adapter", spec.Attention.ValueWidth));
        if (use.FeedForwardAdapterRank > 0)
            feedForward = Add("feed_forward_adapter", new LowRankAdapter(factory, 2L * spec.FeedForward.Width, factory.Width, use.FeedForwardAdapterRank));
        output = Add("output", new Linear(factory.Projection(factory.Width, factory.Width)));
    }

    /// <summary>What is shared.</summary>
    public SharedTransformer Transformer { get; }

    /// <summary>(batch, length, width) to the same shape: what is added to the mixer's input.</summary>
    public Tensor Forward(Tensor x, SequenceContext context, MixerState? state)
    {
        ModuleChecks.Input(x, (int)output.Weight.size(1), context);
        return output.Forward(Transformer.Forward(x, context, state, attention, feedForward));
    }
}
