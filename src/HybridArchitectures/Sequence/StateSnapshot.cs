using static TorchSharp.torch;

namespace HybridArchitectures.Sequence;

/// <summary>Contains what a <see cref="MixerState"/> needs to return to an earlier point.</summary>
public sealed class StateSnapshot : IDisposable
{
    /// <summary>Creates a snapshot.</summary>
    /// <param name="tensors">Copies, which the snapshot owns.</param>
    /// <param name="parts">Snapshots of the states inside the state, which the snapshot also owns.</param>
    public StateSnapshot(IReadOnlyList<Tensor> tensors, params IReadOnlyList<StateSnapshot> parts)
    {
        Require.Items(tensors);
        Require.Items(parts);
        foreach (var tensor in tensors) tensor.DetachFromDisposeScope();
        (Tensors, Parts) = ([.. tensors], [.. parts]);
    }

    /// <summary>Gets the copies of tensors.</summary>
    public IReadOnlyList<Tensor> Tensors { get; }

    /// <summary>Gets the snapshots of inner states.</summary>
    public IReadOnlyList<StateSnapshot> Parts { get; }

    /// <summary>Gets the size in bytes.</summary>
    public long Bytes => Tensors.Sum(tensor => tensor.NumberOfElements * tensor.ElementSize) + Parts.Sum(part => part.Bytes);

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var tensor in Tensors) tensor.Dispose();
        foreach (var part in Parts) part.Dispose();
    }
}
