using HybridArchitectures.Kernels;
using static TorchSharp.torch;

namespace HybridArchitectures.Sequence;

/// <summary>
/// Contains what restores the tensors of one state after each token of a stepwise pass except the last: copies after each token, or a replay of the
/// tokens.
/// </summary>
sealed class TokenCopies : IDisposable
{
    readonly Dictionary<(int Token, int Index), Tensor> copies = [];
    readonly Dictionary<int, StateReplay> replays = [];

    /// <summary>Gets the size in bytes.</summary>
    public long Bytes => copies.Values.Sum(copy => copy.NumberOfElements * copy.ElementSize) + replays.Values.Sum(replay => replay.Bytes);

    /// <summary>Gets whether there are replays.</summary>
    public bool HasReplays => replays.Count > 0;

    /// <summary>Gets whether a graph can contain all replays.</summary>
    public bool ReplaysOnDevice => replays.Values.All(replay => replay.RunsOnDevice);

    /// <summary>Copies a tensor of the state as it is after a token.</summary>
    public void Add(int token, int index, Tensor tensor)
    {
        if (copies.Remove((token, index), out var earlier)) earlier.Dispose();
        copies.Add((token, index), tensor.clone().DetachFromDisposeScope());
    }

    /// <summary>Adds what computes a tensor of the state again. The copies own it.</summary>
    public void Add(int index, StateReplay replay)
    {
        if (replays.Remove(index, out var earlier)) earlier.Dispose();
        replays.Add(index, replay);
    }

    /// <summary>Sets each row of the tensors with copies to its values after the first tokens of a pass over <paramref name="length"/>.</summary>
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
    }

    /// <summary>Sets each row of the tensors with replays to its values after the first tokens of the pass.</summary>
    /// <param name="tensors">The tensors of the state.</param>
    /// <param name="counts">The number of tokens to keep per row, at least 1, (batch) int64 on the device of the tensors.</param>
    public void Replay(IReadOnlyList<Tensor> tensors, Tensor counts)
    {
        foreach (var (index, replay) in replays) replay.Run(tensors[index], counts);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var copy in copies.Values) copy.Dispose();
        foreach (var replay in replays.Values) replay.Dispose();
        copies.Clear();
        replays.Clear();
    }
}
