using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>What a <see cref="MixerState"/> keeps to come back to a place.</summary>
public sealed class StateSnapshot : IDisposable
{
    /// <summary>A snapshot.</summary>
    /// <param name="tensors">Copies, which the snapshot owns.</param>
    /// <param name="parts">Snapshots of the states inside the state, which it owns too.</param>
    public StateSnapshot(IReadOnlyList<Tensor> tensors, params IReadOnlyList<StateSnapshot> parts)
    {
        ArgumentNullException.ThrowIfNull(tensors);
        ArgumentNullException.ThrowIfNull(parts);
        foreach (var tensor in tensors) tensor.DetachFromDisposeScope();
        (Tensors, Parts) = ([.. tensors], [.. parts]);
    }

    /// <summary>Copies of tensors.</summary>
    public IReadOnlyList<Tensor> Tensors { get; }

    /// <summary>Snapshots of the states inside.</summary>
    public IReadOnlyList<StateSnapshot> Parts { get; }

    /// <summary>Memory in bytes.</summary>
    public long Bytes => Tensors.Sum(tensor => tensor.NumberOfElements * tensor.ElementSize) + Parts.Sum(part => part.Bytes);

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var tensor in Tensors) tensor.Dispose();
        foreach (var part in Parts) part.Dispose();
    }
}
