using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Generation;

/// <summary>
/// Drafts the next tokens of rows with a head of multi-token prediction:
/// <list type="number">
/// <item>The cache of the head contains a hidden vector of the model, with the token after it, for each token of a row except the newest.</item>
/// <item>After each pass of the model, its hidden vectors of the tokens that were kept wait for the next drafts.</item>
/// <item>
/// The drafts begin with a pass of the head over the waiting vectors. More drafts continue from its own results, which are then removed. On a GPU,
/// the steps of these drafts are captured as a graph.
/// </item>
/// </list>
/// </summary>
/// <param name="model">The model.</param>
/// <param name="head">The head.</param>
/// <param name="count">The number of drafts of a row.</param>
/// <param name="graphs">Whether steps may be captured as a CUDA graph.</param>
sealed class PredictedDrafts(HybridLanguageModel model, PredictionHead head, int count, bool graphs) : IDisposable
{
    HybridCache? cache;
    PredictedStep? step;        // after the first pass of the drafts; null if it is not captured
    bool? mayCapture;
    Tensor? waiting;            // (rows, width, model width)
    long[] tokens = [];         // (rows, width): the token after each waiting vector
    long[] counts = [];         // the waiting vectors of each row

    /// <summary>Gets the hidden vectors that wait, (rows, width, model width): after the prompts, that of the last token of each.</summary>
    public Tensor Waiting => waiting!;

    // replaces the waiting vectors, outside of dispose scopes
    void Wait(Tensor hidden, long[] nextTokens, long[] lengths)
    {
        waiting?.Dispose();
        waiting = hidden.clone().DetachFromDisposeScope();
        (tokens, counts) = (nextTokens, lengths);
    }

    /// <summary>Reads a chunk of prompts. The last token of each prompt waits.</summary>
    /// <param name="hidden">The hidden vectors of the chunk, (rows, width, model width).</param>
    /// <param name="prompts">The whole prompts.</param>
    /// <param name="start">The position of the chunk.</param>
    public void ReadPrompts(Tensor hidden, IReadOnlyList<IReadOnlyList<int>> prompts, int start)
    {
        using var scope = NewDisposeScope();
        cache ??= head.CreateCache(prompts.Count);
        int width = (int)hidden.size(1);
        var next = new long[prompts.Count * width];
        var lengths = new long[prompts.Count];
        var last = new long[prompts.Count];
        for (int row = 0; row < prompts.Count; row++)
        {
            lengths[row] = Math.Clamp(prompts[row].Count - 1 - start, 0, width);
            for (int i = 0; i < lengths[row]; i++) next[row * width + i] = prompts[row][start + i + 1];
            last[row] = prompts[row].Count - 1 - start;
        }
        if (lengths.Any(length => length > 0)) Run(hidden, next, lengths);
        var ends = At(hidden, [.. last.Select(index => Math.Clamp(index, 0, width - 1))]);
        // prompts that ended in an earlier chunk have their vector already
        if (waiting is not null)
        {
            var isHere = tensor(last.Select(index => index >= 0).ToArray(), [prompts.Count, 1, 1], device: hidden.device);
            ends = ends.where(isHere, waiting);
        }
        Wait(ends, new long[prompts.Count], [.. Enumerable.Repeat(1L, prompts.Count)]);
    }

    /// <summary>Sets the tokens that follow the prompts.</summary>
    public void Begin(IReadOnlyList<int> first) => tokens = [.. first.Select(id => (long)id)];

    /// <summary>Returns the drafts of each row.</summary>
    /// <param name="rules">Rules out tokens: scores (rows, vocabulary size).</param>
    public int[][] Guess(Func<Tensor, Tensor> rules)
    {
        using var scope = NewDisposeScope();
        var last = At(Run(waiting!, tokens, counts), [.. counts.Select(length => length - 1)]);
        var guesses = Array.ConvertAll(counts, _ => new int[count]);
        var captured = count > 1 ? Captured(rules) : null;
        using var snapshot = count > 1 ? cache!.Snapshot() : null;
        var best = rules(model.Logits(last.squeeze(1))).argmax(1);
        captured?.Begin(last, best);
        for (int i = 0; ; i++)
        {
            var ids = TensorMemory.ToArray<long>(best);
            for (int row = 0; row < guesses.Length; row++) guesses[row][i] = (int)ids[row];
            if (i + 1 == count) break;
            if (captured is not null) best = captured.Next();
            else (last, best) = Next(last, best, rules);
        }
        if (snapshot is not null) cache!.Rewind(snapshot);
        return guesses;
    }

    (Tensor Result, Tensor Best) Next(Tensor last, Tensor best, Func<Tensor, Tensor> rules)
    {
        using var context = new SequenceContext(cache: cache);
        var result = head.Forward(model, last, best.unsqueeze(1), context);
        return (result, rules(model.Logits(result.squeeze(1))).argmax(1));
    }

    // what computes the drafts after the first as a graph, or null
    PredictedStep? Captured(Func<Tensor, Tensor> rules)
    {
        if (step is { IsCurrent: false }) DropStep();
        mayCapture ??= graphs && PredictedStep.MayCapture(model, head, cache!);
        if (step is null && mayCapture.Value) step = new(model, head, cache!, rules);
        step?.Reserve(count);
        return step;
    }

    void DropStep()
    {
        step?.Dispose();
        step = null;
    }

    /// <summary>Takes the result of the pass that verified drafts.</summary>
    /// <param name="hidden">The hidden vectors of the pass, (rows, width, model width).</param>
    /// <param name="chosen">The token after each of them; -1 where none could be selected, which is never the case before a kept token.</param>
    /// <param name="kept">The number of tokens of each row that are kept.</param>
    public void Accept(Tensor hidden, IReadOnlyList<int> chosen, IReadOnlyList<int> kept)
    {
        head.Count((long)count * kept.Count, kept.Sum(number => number - 1L));
        // -1 after a rejected draft is padding, but padding must have an embedding
        Wait(hidden, [.. chosen.Select(id => Math.Max(id, 0L))], [.. kept.Select(number => (long)number)]);
    }

    /// <summary>Continues with some rows.</summary>
    public void Select(IReadOnlyList<int> rows)
    {
        using var scope = NewDisposeScope();
        int width = (int)waiting!.size(1);
        var smaller = cache!.Select(rows);
        DropStep();
        cache.Dispose();
        cache = smaller;
        var index = tensor(rows.Select(row => (long)row).ToArray(), device: waiting.device);
        Wait(waiting.index_select(0, index), [.. rows.SelectMany(row => tokens[(row * width)..((row + 1) * width)])],
            [.. rows.Select(row => counts[row])]);
    }

    Tensor Run(Tensor hidden, long[] next, long[] lengths)
    {
        int width = (int)hidden.size(1);
        using var layout = lengths.All(length => length == width) ? null : SequenceLayout.Padded(lengths, width, hidden.device);
        using var context = new SequenceContext(layout, cache);
        return head.Forward(model, hidden, tensor(next, [lengths.Length, width], ScalarType.Int64, device: hidden.device), context);
    }

    // (rows, 1, width): the vector of each row at an index
    static Tensor At(Tensor x, long[] indices) =>
        x.gather(1, tensor(indices, [indices.Length, 1, 1], ScalarType.Int64, device: x.device).expand(indices.Length, 1, x.size(2)));

    public void Dispose()
    {
        DropStep();
        cache?.Dispose();
        waiting?.Dispose();
    }
}
