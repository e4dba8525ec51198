using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Modules;
using static TorchSharp.torch;

namespace HybridArchitectures.Models;

/// <summary>
/// What a model remembers of a batch of rows: keys and values, convolution inputs and state-space states, one <see cref="MixerState"/> a mixer. Rows may have seen
/// different numbers of tokens.
/// </summary>
public sealed class HybridCache : IDisposable
{
    readonly long[] lengths;

    /// <summary>A cache over the states of a model's mixers.</summary>
    /// <param name="states">One state a block, null for a block without mixer. The cache owns them.</param>
    /// <param name="lengths">Tokens each row has seen.</param>
    public HybridCache(IReadOnlyList<MixerState?> states, IReadOnlyList<long> lengths)
    {
        ArgumentNullException.ThrowIfNull(states);
        ArgumentNullException.ThrowIfNull(lengths);
        States = [.. states];
        this.lengths = [.. lengths];
    }

    /// <summary>Rows.</summary>
    public int Batch => lengths.Length;

    /// <summary>Tokens each row has seen.</summary>
    public IReadOnlyList<long> Lengths => lengths;

    /// <summary>One state a block, null for a block without mixer.</summary>
    public IReadOnlyList<MixerState?> States { get; }

    /// <summary>Memory of all states in bytes.</summary>
    public long Bytes => States.Sum(state => state?.Bytes ?? 0);

    /// <summary>A copy of the given rows, in that order; rows may repeat: to fork a prompt into several continuations, to drop finished rows, to reorder.</summary>
    /// <param name="rows">Row numbers from 0.</param>
    public HybridCache Select(params IReadOnlyList<int> rows)
    {
        ArgumentNullException.ThrowIfNull(rows);
        foreach (int row in rows)
            if (row < 0 || row >= Batch) throw new ArgumentOutOfRangeException(nameof(rows), row, $"the cache holds rows 0 to {Batch - 1}");
        using var scope = NewDisposeScope();
        using var off = no_grad();
        var device = States.OfType<MixerState>().SelectMany(state => state.Tensors).FirstOrDefault()?.device ?? CPU;
        var index = Indices.Of(rows.Select(row => (long)row), device);
        return new HybridCache([.. States.Select(state => state?.Select(index))], [.. rows.Select(row => lengths[row])]);
    }

    /// <summary>A copy of everything.</summary>
    public HybridCache Fork() => Select([.. Enumerable.Range(0, Batch)]);

    internal void Advance(SequenceContext context)
    {
        for (int row = 0; row < lengths.Length; row++) lengths[row] += context.RowLength(row);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var state in States) state?.Dispose();
    }
}
