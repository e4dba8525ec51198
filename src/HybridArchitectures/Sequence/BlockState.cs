namespace HybridArchitectures.Sequence;

/// <summary>Combines the states of the mixer and of the feed-forward of a block, if both have one.</summary>
public sealed class BlockState : StatePair
{
    /// <summary>Creates the state.</summary>
    public BlockState(MixerState mixer, MixerState feedForward)
        : base(mixer ?? throw new ArgumentNullException(nameof(mixer)), feedForward ?? throw new ArgumentNullException(nameof(feedForward))) =>
        (Mixer, FeedForward) = (mixer, feedForward);

    /// <summary>Gets the state of the mixer.</summary>
    public MixerState Mixer { get; }

    /// <summary>Gets the state of the feed-forward.</summary>
    public MixerState FeedForward { get; }

    private protected override MixerState Create(MixerState first, MixerState second) => new BlockState(first, second);
}
