using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Tokenization;
using static TorchSharp.torch;

namespace HybridArchitectures.Generation;

/// <summary>A batch of prompts being continued, one token a row and step. Rows that have ended leave the batch.</summary>
sealed class GenerationRun : IDisposable
{
    readonly LanguageModel model;
    readonly GenerationOptions options;
    readonly IReadOnlyList<LogitsProcessor> processors;
    readonly int vocabulary;
    readonly int[] absent;
    List<GenerationRow> active;
    HybridCache? cache;

    public GenerationRun(LanguageModel model, Tokenizer? tokenizer, GenerationOptions options, IReadOnlyList<GenerationRow> rows)
    {
        (this.model, this.options) = (model, options);
        active = [.. rows];
        processors = options.CreateProcessors();
        vocabulary = tokenizer?.VocabularySize ?? model.VocabularySize;
        absent = tokenizer is null ? [] : [.. Enumerable.Range(0, vocabulary).Where(id => !tokenizer.Contains(id))];
    }

    public bool IsFinished => active.Count == 0;

    /// <summary>One token for each row that has not ended; the first step reads the prompts.</summary>
    public IReadOnlyList<GeneratedPiece> Step(CancellationToken cancellation)
    {
        cancellation.ThrowIfCancellationRequested();
        // for this step alone: a run that is abandoned between two steps leaves the model as it was
        bool wasTraining = model.training;
        if (wasTraining) model.eval();
        try
        {
            return Compute(cancellation);
        }
        finally
        {
            if (wasTraining) model.train();
        }
    }

    GeneratedPiece[] Compute(CancellationToken cancellation)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var logits = cache is null ? ReadPrompts(cancellation) : Continue();
        var ids = Choose(logits);
        var pieces = active.Select((row, i) => row.Accept(ids[i])).ToArray();
        DropFinished();
        return pieces;
    }

    public void Dispose()
    {
        cache?.Dispose();
        cache = null;
    }

    // (rows, vocabulary) after each prompt's last token
    Tensor ReadPrompts(CancellationToken cancellation)
    {
        cache = model.CreateCache(active.Count);
        int longest = active.Max(row => row.Prompt.Count);
        var last = new Tensor[active.Count];
        for (int start = 0; start < longest; start += options.PrefillChunk)
        {
            cancellation.ThrowIfCancellationRequested();
            using var scope = NewDisposeScope();
            int width = Math.Min(options.PrefillChunk, longest - start);
            var ids = new long[active.Count * width];
            var lengths = new long[active.Count];
            for (int row = 0; row < active.Count; row++)
            {
                var prompt = active[row].Prompt;
                lengths[row] = Math.Clamp(prompt.Count - start, 0, width);
                for (int i = 0; i < lengths[row]; i++) ids[row * width + i] = prompt[start + i];
            }
            using var layout = lengths.All(length => length == width) ? null : SequenceLayout.Padded(lengths, width, model.Device);
            var logits = Next(tensor(ids, [active.Count, width], ScalarType.Int64, device: model.Device), layout);
            for (int row = 0; row < active.Count; row++)
                if (lengths[row] > 0 && start + lengths[row] == active[row].Prompt.Count) last[row] = logits.narrow(0, row, 1).clone().MoveToOuterDisposeScope();
        }
        return cat(last, 0);
    }

    Tensor Continue() => Next(tensor(active.Select(row => (long)row.History[^1]).ToArray(), [active.Count, 1], ScalarType.Int64, device: model.Device), null);

    Tensor Next(Tensor ids, SequenceLayout? layout)
    {
        using var context = new SequenceContext(layout, cache);
        var logits = model.NextLogits(ids, context);
        if (logits.dim() != 2 || logits.size(0) != ids.size(0) || logits.size(1) < vocabulary)
            throw new InvalidOperationException($"the model gave logits of [{string.Join(", ", logits.shape)}]; expected ({ids.size(0)}, {model.VocabularySize})");
        return logits;
    }

    int[] Choose(Tensor logits)
    {
        // a model may have more rows in its embedding than the tokenizer has tokens
        var scores = logits.size(1) > vocabulary ? logits.narrow(1, 0, vocabulary) : logits;
        if (scores.dtype != ScalarType.Float32) scores = scores.to(ScalarType.Float32);
        if (absent.Length > 0) scores = scores.index_fill(1, tensor(absent.Select(id => (long)id).ToArray(), device: scores.device), Scalars.MinusInfinity);
        var history = active.Select(row => row.History).ToArray();
        foreach (var processor in processors) scores = processor.Apply(scores, history);
        return options.Temperature == 0 ? Likeliest(scores) : Sample(scores);
    }

    int[] Likeliest(Tensor scores)
    {
        var (values, indices) = scores.max(1);
        var best = TensorMemory.ToArray<float>(values);
        for (int row = 0; row < best.Length; row++)
            if (!float.IsFinite(best[row])) throw NotFinite(row);
        return Array.ConvertAll(TensorMemory.ToArray<long>(indices), id => (int)id);
    }

    // on the CPU, so that every device draws alike
    int[] Sample(Tensor scores)
    {
        var probabilities = scores.softmax(1).cpu().contiguous();
        var chosen = new int[active.Count];
        for (int row = 0; row < chosen.Length; row++)
        {
            var weights = TensorMemory.Span<float>(probabilities.narrow(0, row, 1));
            chosen[row] = RowRandom.Pick(weights, active[row].NextNumber);
            if (chosen[row] < 0) throw NotFinite(row);
        }
        return chosen;
    }

    InvalidOperationException NotFinite(int row) => new(
        $"no token can be chosen for prompt {active[row].Index} after {active[row].GeneratedCount} generated: the scores hold NaN or infinity, or every token is ruled out");

    void DropFinished()
    {
        if (!active.Exists(row => row.IsFinished)) return;
        var staying = Enumerable.Range(0, active.Count).Where(row => !active[row].IsFinished).ToArray();
        active = [.. staying.Select(row => active[row])];
        if (active.Count == 0) return;
        var smaller = cache!.Select(staying);
        cache.Dispose();
        cache = smaller;
    }
}
