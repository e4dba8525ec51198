using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>One layer: x + s mixer(norm(x)), then x + s feedForward(norm(x)), s being the residual scale; either part may be absent.</summary>
public sealed class Block : HybridModule
{
    readonly double residualScale;
    readonly RootMeanSquareNorm? mixerNorm, feedForwardNorm;

    /// <summary>A block as its spec says.</summary>
    public Block(ModuleFactory factory, BlockSpec spec) : base(nameof(Block))
    {
        residualScale = spec.ResidualScale;
        if (spec.Mixer is not null)
        {
            mixerNorm = Add("mixer_norm", new RootMeanSquareNorm(factory, factory.Width, spec.NormEpsilon));
            Mixer = Add("mixer", ModuleCatalogue.CreateMixer(factory, spec.Mixer));
        }
        if (ModuleCatalogue.CreateFeedForward(factory, spec.FeedForward) is { } feedForward)
        {
            feedForwardNorm = Add("feed_forward_norm", new RootMeanSquareNorm(factory, factory.Width, spec.NormEpsilon));
            FeedForward = Add("feed_forward", feedForward);
        }
    }

    /// <summary>What mixes positions, or null.</summary>
    public Mixer? Mixer { get; }

    /// <summary>What works on each position, or null.</summary>
    public FeedForward? FeedForward { get; }

    /// <summary>(batch, length, width) to the same shape.</summary>
    public Tensor Forward(Tensor x, SequenceContext context, MixerState? state)
    {
        using var scope = NewDisposeScope();
        var stream = x;
        var scale = residualScale == 1 ? Scalars.One : Scalars.Of(residualScale);
        if (Mixer is not null) stream = stream.add(Mixer.Forward(mixerNorm!.Forward(stream), context, state), scale);
        if (FeedForward is not null) stream = stream.add(FeedForward.Forward(feedForwardNorm!.Forward(stream), context), scale);
        return ReferenceEquals(stream, x) ? x : stream.MoveToOuterDisposeScope();
    }
}
