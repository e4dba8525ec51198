using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>The states of attention and of a state-space mixer in one block: the branches of an intra-layer hybrid, or a shared transformer and the mixer behind it.</summary>
public sealed class CombinedState(MixerState attention, MixerState stateSpace) : MixerState
{
    /// <summary>The attention's.</summary>
    public MixerState Attention { get; } = attention;

    /// <summary>The state-space mixer's.</summary>
    public MixerState StateSpace { get; } = stateSpace;

    /// <inheritdoc/>
    public override IReadOnlyList<Tensor> Tensors => [.. Attention.Tensors, .. StateSpace.Tensors];

    /// <inheritdoc/>
    public override MixerState Select(Tensor rows) => new CombinedState(Attention.Select(rows), StateSpace.Select(rows));

    /// <inheritdoc/>
    public override void Dispose()
    {
        Attention.Dispose();
        StateSpace.Dispose();
        base.Dispose();
    }
}
