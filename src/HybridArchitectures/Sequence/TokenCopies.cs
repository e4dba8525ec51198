using HybridArchitectures.Kernels;
using static TorchSharp.torch;

namespace HybridArchitectures.Sequence;

/// <summary>
/// Contains what restores the tensors of one state after each token of a stepwise pass except the last: the states after each token, or a replay of
/// the tokens.
/// </summary>
sealed class TokenCopies : IDisposable
{
    readonly Dictionary<int, StateReplay> replays = [];

    /// <summary>Gets the size in bytes.</summary>
    public long Bytes => replays.Values.Sum(replay => replay.Bytes);

    /// <summary>Gets whether tokens are processed again.</summary>
    public bool HasReplays => replays.Values.Any(replay => replay.States is null);

    /// <summary>Gets whether a graph can process the tokens again.</summary>
    public bool ReplaysOnDevice => replays.Values.All(replay => replay.RunsOnDevice || replay.States is not null);

    /// <summary>Adds what returns a tensor of the state to earlier tokens. The copies own it.</summary>
    public void Add(int index, StateReplay replay)
    {
        if (replays.Remove(index, out var earlier)) earlier.Dispose();
        replays.Add(index, replay);
    }

    /// <summary>Sets each row of the tensors whose states are kept to its values after the first tokens of the pass.</summary>
    /// <param name="tensors">The tensors of the state.</param>
    /// <param name="counts">The number of tokens to keep per row, at least 1. A row that keeps all is left as it is.</param>
    public void Restore(IReadOnlyList<Tensor> tensors, IReadOnlyList<int> counts)
    {
        foreach (var (index, replay) in replays)
        {
            if (replay.States is not { } states) continue;
            for (int row = 0; row < counts.Count; row++) StateReplay.CopyRow(states, tensors[index], row, counts[row]);
        }
    }

    /// <summary>Sets each row of the tensors whose tokens are processed again to its values after the first tokens of the pass.</summary>
    /// <param name="tensors">The tensors of the state.</param>
    /// <param name="counts">The number of tokens to keep per row, at least 1, (batch) int64 on the device of the tensors.</param>
    public void Replay(IReadOnlyList<Tensor> tensors, Tensor counts)
    {
        foreach (var (index, replay) in replays)
            if (replay.States is null) replay.Run(tensors[index], counts);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var replay in replays.Values) replay.Dispose();
        replays.Clear();
    }
}
