using static TorchSharp.torch;

namespace HybridArchitectures.Sequence;

/// <summary>
/// Contains what restores the tensors of one state after each token of a stepwise pass except the last: copies, or the inputs of a convolution.
/// </summary>
sealed class TokenCopies : IDisposable
{
    readonly Dictionary<(int Token, int Index), Tensor> copies = [];
    readonly Dictionary<int, Tensor> inputs = [];

    /// <summary>Gets the size in bytes.</summary>
    public long Bytes => copies.Values.Concat(inputs.Values).Sum(copy => copy.NumberOfElements * copy.ElementSize);

    /// <summary>Copies a tensor of the state as it is after a token.</summary>
    public void Add(int token, int index, Tensor tensor)
    {
        if (copies.Remove((token, index), out var earlier)) earlier.Dispose();
        copies.Add((token, index), tensor.clone().DetachFromDisposeScope());
    }

    /// <summary>Saves the inputs of a convolution.</summary>
    /// <param name="index">The index of the tensor of the state.</param>
    /// <param name="before">The tensor before the pass: the last inputs, (batch, width - 1, channels), newest last.</param>
    /// <param name="x">The inputs of the pass, (batch, length, channels).</param>
    public void AddInputs(int index, Tensor before, Tensor x)
    {
        if (inputs.Remove(index, out var earlier)) earlier.Dispose();
        inputs.Add(index, cat([before, x], 1).DetachFromDisposeScope());
    }

    /// <summary>Sets each row of the tensors of the state to its values after the first tokens of a pass over <paramref name="length"/>.</summary>
    /// <param name="tensors">The tensors of the state.</param>
    /// <param name="counts">The number of tokens to keep per row, at least 1. A row that keeps all is left as it is.</param>
    /// <param name="length">The number of tokens of the pass.</param>
    public void Restore(IReadOnlyList<Tensor> tensors, IReadOnlyList<int> counts, int length)
    {
        foreach (int index in copies.Keys.Select(key => key.Index).Distinct())
        {
            for (int row = 0; row < counts.Count; row++)
                if (counts[row] < length) tensors[index].select(0, row).copy_(copies[(counts[row] - 1, index)].select(0, row));
        }
        foreach (var (index, all) in inputs)
        {
            for (int row = 0; row < counts.Count; row++)
                if (counts[row] < length) tensors[index].select(0, row).copy_(all.select(0, row).narrow(0, counts[row], tensors[index].size(1)));
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var copy in copies.Values.Concat(inputs.Values)) copy.Dispose();
        copies.Clear();
        inputs.Clear();
    }
}
