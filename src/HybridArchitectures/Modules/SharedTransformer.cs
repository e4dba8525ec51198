using HybridArchitectures.Design;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>
/// Represents a transformer layer whose weights several blocks use (arXiv 2411.15242): feedForward(norm(attention(norm([x, embedded tokens])))).
/// </summary>
public sealed class SharedTransformer : HybridModule
{
    readonly RootMeanSquareNorm norm, feedForwardNorm;
    readonly Attention attention;
    readonly SwiGluFeedForward feedForward;

    /// <summary>Creates a shared transformer.</summary>
    public SharedTransformer(ModuleFactory factory, SharedTransformerSpec spec) : base(nameof(SharedTransformer))
    {
        ArgumentNullException.ThrowIfNull(factory);
        ArgumentNullException.ThrowIfNull(spec);
        spec.Check(factory.Width);
        Spec = spec;
        int inputs = spec.InputWidth(factory.Width);
        norm = Add("norm", new RootMeanSquareNorm(factory, inputs, spec.NormEpsilon));
        attention = Add("attention", new Attention(factory, spec.Attention, inputs));
        feedForwardNorm = Add("feed_forward_norm", new RootMeanSquareNorm(factory, factory.Width, spec.NormEpsilon));
        feedForward = Add("feed_forward", new SwiGluFeedForward(factory, spec.FeedForward));
    }

    /// <summary>Gets the spec of the transformer.</summary>
    public SharedTransformerSpec Spec { get; }

    internal Tensor Forward(Tensor x, SequenceContext context, MixerState? state, AttentionAdapters? adapters, LowRankAdapter? feedForwardAdapter)
    {
        // (B, L, 2 width)
        if (Spec.ReadsEmbedding) x = cat([x, context.Embedded ?? throw new InvalidOperationException("the pass has no embedded tokens")], -1);
        var attended = attention.Project(attention.Attend(norm.Forward(x), context, state, adapters: adapters));
        return feedForward.Forward(feedForwardNorm.Forward(attended), feedForwardAdapter);
    }

    /// <summary>Creates an empty state of the attention of one use.</summary>
    internal MixerState CreateState(int batch, ScalarType compute, Device device) => attention.CreateState(batch, compute, device);
}
