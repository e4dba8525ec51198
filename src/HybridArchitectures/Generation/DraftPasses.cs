using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Generation;

/// <summary>
/// Verifies drafts on a GPU, with a captured graph for each number of tokens if the modules of the model permit it, and by direct passes otherwise.
/// </summary>
/// <param name="model">The model, on a GPU.</param>
/// <param name="cache">The cache. The caller disposes it.</param>
/// <param name="prepare">Changes the scores (rows x tokens, vocabulary size) before the selection, without numbers from the host.</param>
/// <param name="keepsHidden">Whether passes keep the hidden vectors of their tokens.</param>
sealed class DraftPasses(HybridLanguageModel model, HybridCache cache, Func<Tensor, Tensor> prepare, bool keepsHidden) : IDisposable
{
    /// <summary>
    /// Specifies the maximum size in bytes of the copies of states that all graphs have together. Other passes run directly, so that the memory of
    /// their copies is free between two passes.
    /// </summary>
    public const long MaxCopyBytes = 1L << 30;

    readonly Dictionary<int, DraftPass> passes = [];

    /// <summary>Gets the number of captures.</summary>
    public int Captures => passes.Values.Sum(pass => pass.Captures);

    /// <summary>Gets the size in bytes of the copies of states that the graphs have.</summary>
    public long CopyBytes => passes.Values.Where(pass => pass.IsCaptured).Sum(pass => pass.CopyBytes);

    /// <summary>Returns the token after each of the last tokens and drafts of every row; -1 where none could be selected.</summary>
    /// <param name="ids">The tokens (rows, width), row by row.</param>
    /// <param name="width">The number of tokens of each row, at least 2.</param>
    public int[] Verify(long[] ids, int width)
    {
        if (!passes.TryGetValue(width, out var pass)) passes[width] = pass = new(model, cache, width, prepare, keepsHidden);
        return pass.Run(ids, captures: pass.IsCaptured || (pass.CanBeCaptured && CopyBytes + pass.CopyBytes <= MaxCopyBytes));
    }

    /// <summary>Keeps the first tokens of each row of the last pass over <paramref name="width"/> tokens.</summary>
    public void Keep(IReadOnlyList<int> counts, int width) => passes[width].Keep(counts);

    /// <summary>Returns the hidden vectors of the tokens of the last pass over <paramref name="width"/> tokens, if they are kept.</summary>
    public Tensor Hidden(int width) => passes[width].Hidden!;

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var pass in passes.Values) pass.Dispose();
        passes.Clear();
    }
}
