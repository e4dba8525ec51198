namespace HybridArchitectures.Sequence;

/// <summary>
/// Combines the states of attention and of a state-space mixer in one block: the branches of an intra-layer hybrid, or a shared transformer and the
/// mixer after it.
/// </summary>
public sealed class CombinedState : StatePair
{
    /// <summary>Creates the state.</summary>
    public CombinedState(MixerState attention, MixerState stateSpace)
        : base(attention ?? throw new ArgumentNullException(nameof(attention)), stateSpace ?? throw new ArgumentNullException(nameof(stateSpace))) =>
        (Attention, StateSpace) = (attention, stateSpace);

    /// <summary>Gets the state of attention.</summary>
    public MixerState Attention { get; }

    /// <summary>Gets the state of the state-space mixer.</summary>
    public MixerState StateSpace { get; }

    private protected override MixerState Create(MixerState first, MixerState second) => new CombinedState(first, second);
}
