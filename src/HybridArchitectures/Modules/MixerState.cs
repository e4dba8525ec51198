using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>What one mixer remembers of the tokens it has seen: keys and values, convolution inputs, a state-space state, or several of these.</summary>
public abstract class MixerState : IDisposable
{
    /// <summary>The tensors it consists of, batch first. They are owned by the state and change as tokens are seen.</summary>
    public abstract IReadOnlyList<Tensor> Tensors { get; }

    /// <summary>A copy of the given rows, in that order; rows may repeat.</summary>
    public abstract MixerState Select(Tensor rows);

    /// <summary>Memory in bytes.</summary>
    public virtual long Bytes => Tensors.Sum(tensor => tensor.NumberOfElements * tensor.ElementSize);

    /// <inheritdoc/>
    public virtual void Dispose()
    {
        foreach (var tensor in Tensors) tensor.Dispose();
        GC.SuppressFinalize(this);
    }

    /// <summary>A copy of rows of a tensor, outside every dispose scope.</summary>
    protected static Tensor Rows(Tensor tensor, Tensor rows) => tensor.index_select(0, rows).DetachFromDisposeScope();
}
