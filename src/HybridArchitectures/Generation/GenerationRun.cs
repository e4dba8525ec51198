using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using HybridArchitectures.Tokenization;
using static TorchSharp.torch;

namespace HybridArchitectures.Generation;

/// <summary>Continues a batch of prompts by one token per row and step. Rows that have ended leave the batch.</summary>
sealed class GenerationRun : IDisposable
{
    const int HostChunk = 512, DeviceTokens = 16_384;

    // the number of later tokens for which steps on a GPU reserve memory at once: beyond it memory grows, and a captured step is captured again
    const int MaxRoom = 2048;

    // memory is reserved in steps of this number of tokens, so that a later generation of about the same length needs no more
    const int RoomStep = 1024;

    readonly LanguageModel model;
    readonly GenerationOptions options;
    readonly IReadOnlyList<LogitsProcessor> processors;
    readonly int vocabulary;
    readonly int[] absent;
    readonly Action ended;
    readonly PredictedDrafts? predicted;
    List<GenerationRow> active;
    HybridCache? cache;
    DecodeLoop? loop;
    KeptLoop? kept;
    Tensor? absentIds, verified;
    List<GenerationRow> slots = [];         // the rows of the cache, including those that have ended
    bool failed, disposed, refusesGraphs;

    /// <summary>Creates a run.</summary>
    /// <param name="model">The model.</param>
    /// <param name="tokenizer">The tokenizer of the model, or null.</param>
    /// <param name="options">The options.</param>
    /// <param name="rows">The prompts.</param>
    /// <param name="ended">Is called at the end.</param>
    public GenerationRun(LanguageModel model, Tokenizer? tokenizer, GenerationOptions options, IReadOnlyList<GenerationRow> rows, Action ended)
    {
        (this.model, this.options, this.ended) = (model, options, ended);
        active = [.. rows];
        processors = options.CreateProcessors();
        vocabulary = tokenizer?.VocabularySize ?? model.VocabularySize;
        if (options.PredictionHead is { } head && CanDraft && model is HybridLanguageModel hybrid)
        {
            head.RequireFit(hybrid);
            predicted = new(hybrid, head, options.DraftTokens ?? 1, options.CudaGraphs);
        }
        if (options.StateType is { } type)
            (model as HybridLanguageModel ?? throw Require.Refusal(nameof(options.StateType), type, "null for a model without a design"))
                .Stack.RequireStateType(type, nameof(options.StateType));
        absent = tokenizer is null ? [] : [.. Enumerable.Range(0, vocabulary).Where(id => !tokenizer.Contains(id))];
    }

    public bool IsFinished => active.Count == 0;

    /// <summary>Generates one token for each row that has not ended. The first step reads the prompts.</summary>
    public IReadOnlyList<GeneratedPiece> Step(CancellationToken cancellation)
    {
        cancellation.ThrowIfCancellationRequested();
        // for this step only: a run that is abandoned between two steps leaves the model unchanged
        bool wasTraining = model.training, computed = false;
        if (wasTraining) model.eval();
        try
        {
            var pieces = Compute(cancellation);
            computed = true;
            return pieces;
        }
        finally
        {
            failed |= !computed;
            if (wasTraining) model.train();
        }
    }

    GeneratedPiece[] Compute(CancellationToken cancellation)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        if (cache is not null && predicted is not null)
        {
            // a graph does not contain adapters
            bool hasLoop = model is HybridLanguageModel { AttachedAdapters: null } && (HasLoop() || StartLoop());
            return Verify(predicted.Guess(RuledOnDevice), hasLoop);
        }
        if (cache is not null && Drafts() is { } drafts)
        {
            bool hasLoop = HasLoop() || StartLoop();
            return hasLoop && drafts.All(guess => guess.Length == 0) ? ComputeAlone() : Verify(drafts, hasLoop);
        }
        if (cache is not null && (loop is not null || StartLoop())) return ComputeLoop();
        var logits = cache is null ? ReadPrompts(cancellation) : Continue();
        var ids = Choose(logits);
        predicted?.Begin(ids);
        var pieces = active.Select((row, i) => row.Accept(ids[i])).ToArray();
        DropFinished();
        return pieces;
    }

    public void Dispose()
    {
        if (disposed) return;
        disposed = true;
        if (failed) DropKept();
        else Keep();
        if (loop is not null && !ReferenceEquals(loop, kept?.Loop)) loop.Dispose();
        Release();
        while (kept is { Loop.Pending: > 0 }) kept.Loop.Take();
        absentIds?.Dispose();
        predicted?.Dispose();
        (loop, cache) = (null, null);
        if (kept is not null) ((HybridLanguageModel)model).Keep(kept)?.Dispose();
        ended();
    }

    // Lets a later run use the loop and its cache, unless they hold much memory, the graph reads memory of this run, or there is one already.
    void Keep()
    {
        if (kept is null && predicted is null && loop is { IsCurrent: true } && loop.Captures + loop.DraftCaptures > 0 && absent.Length == 0
            && cache!.Bytes + loop.Bytes <= KeptLoop.MaxBytes)
            kept = new(vocabulary, KeptLoop.RulesOf(options), cache, loop);
    }

    // Disposes what an earlier run has left. The loop and the cache of this run can be those.
    void DropKept()
    {
        if (kept is null) return;
        kept.Dispose();
        if (ReferenceEquals(loop, kept.Loop)) loop = null;
        if (ReferenceEquals(cache, kept.Cache)) cache = null;
        kept = null;
    }

    // disposes the cache, unless a later run uses it
    void Release()
    {
        if (!ReferenceEquals(cache, kept?.Cache)) cache?.Dispose();
    }

    // an empty cache: that of an earlier run of the same kind, with its captured step, or a new one
    HybridCache EmptyCache()
    {
        if (predicted is null && model is HybridLanguageModel hybrid && options.CudaGraphs && options.HostRule is null && absent.Length == 0)
        {
            kept = hybrid.Keep(null) as KeptLoop;
            if (kept?.Serves(vocabulary, options, active.Count) == true)
            {
                kept.Cache.Clear();
                return kept.Cache;
            }
            kept?.Dispose();
            kept = null;
        }
        return options.StateType is { } type ? ((HybridLanguageModel)model).CreateCache(active.Count, type) : model.CreateCache(active.Count);
    }

    // (rows, vocabulary size) after the last token of each prompt
    Tensor ReadPrompts(CancellationToken cancellation)
    {
        cache = EmptyCache();
        cache.CudaGraphs = false;        // the loop has a graph, with the selection of tokens
        int maxPrompt = active.Max(row => row.Prompt.Count);
        var last = new Tensor[active.Count];
        int chunk = options.PrefillChunk ?? DefaultChunk();
        for (int start = 0; start < maxPrompt; start += chunk)
        {
            cancellation.ThrowIfCancellationRequested();
            using var scope = NewDisposeScope();
            int width = Math.Min(chunk, maxPrompt - start);
            var ids = new long[active.Count * width];
            var lengths = new long[active.Count];
            for (int row = 0; row < active.Count; row++)
            {
                var prompt = active[row].Prompt;
                lengths[row] = Math.Clamp(prompt.Count - start, 0, width);
                for (int i = 0; i < lengths[row]; i++) ids[row * width + i] = prompt[start + i];
            }
            using var layout = lengths.All(length => length == width) ? null : SequenceLayout.Padded(lengths, width, model.Device);
            var chunkIds = tensor(ids, [active.Count, width], ScalarType.Int64, device: model.Device);
            var logits = predicted is null ? Next(chunkIds, layout) : ReadForDrafts(chunkIds, layout, start);
            for (int row = 0; row < active.Count; row++)
                if (lengths[row] > 0 && start + lengths[row] == active[row].Prompt.Count)
                    last[row] = logits.narrow(0, row, 1).clone().MoveToOuterDisposeScope();
        }
        return cat(last, 0);
    }

    bool CanDraft => options.Temperature == 0 && options.HostRule is null && model is HybridLanguageModel { HasCustomMixers: false };

    // the logits after the last token of each row of a chunk of prompts, whose hidden vectors the head reads too
    Tensor ReadForDrafts(Tensor ids, SequenceLayout? layout, int start)
    {
        var hybrid = (HybridLanguageModel)model;
        using var context = new SequenceContext(layout, cache);
        var hidden = hybrid.Hidden(ids, context);
        predicted!.ReadPrompts(hidden, [.. active.Select(row => row.Prompt)], start);
        return hybrid.Logits(predicted.Waiting.squeeze(1));
    }

    // (rows, drafts) of a model whose states can remove tokens; null if none are requested
    int[][]? Drafts()
    {
        if (options.DraftTokens is not { } count || !CanDraft) return null;
        return [.. active.Select(row => row.Guess(count))];
    }

    // one pass over the last token of each row and its drafts; drafts that the model would have selected are kept
    GeneratedPiece[] Verify(int[][] drafts, bool hasLoop)
    {
        int width = 1 + drafts.Max(guess => guess.Length);
        var ids = new long[active.Count * width];
        for (int row = 0; row < active.Count; row++)
        {
            ids[row * width] = active[row].History[^1];
            // rows with fewer drafts are filled with tokens that are discarded
            for (int i = 1; i < width; i++) ids[row * width + i] = i <= drafts[row].Length ? drafts[row][i - 1] : 0;
        }
        int[] chosen = hasLoop ? loop!.Verify(ids, width) : VerifyDirectly(ids, width);
        var counts = new int[active.Count];
        var pieces = new List<GeneratedPiece>();
        for (int row = 0; row < active.Count; row++)
        {
            do
            {
                int at = row * width + counts[row]++;
                if (chosen[at] < 0) throw NotFinite(row);
                pieces.Add(active[row].Accept(chosen[at]));
            }
            while (!active[row].IsFinished && counts[row] <= drafts[row].Length && drafts[row][counts[row] - 1] == active[row].History[^1]);
            if (drafts[row].Length > 0) active[row].NoteGuesses(counts[row] - 1);
        }
        predicted?.Accept(hasLoop ? loop!.Hidden(width) : verified!, chosen, counts);
        if (hasLoop) loop!.Keep(counts, width);
        else cache!.KeepTokens(counts, width);
        DropFinished();
        return [.. pieces];
    }

    // the most probable token after each of the tokens (rows, width); -1 where none can be selected
    int[] VerifyDirectly(long[] ids, int width)
    {
        using var context = new SequenceContext(cache: cache) { IsStepwise = true };
        var tokens = tensor(ids, [active.Count, width], ScalarType.Int64, device: model.Device);
        var logits = predicted is null ? model.Forward(tokens, context) : ForwardForDrafts(tokens, context);
        var (values, indices) = RuledOnDevice(logits.flatten(0, 1)).max(1);
        var best = TensorMemory.ToArray<float>(values);
        return [.. TensorMemory.ToArray<long>(indices).Select((id, at) => float.IsFinite(best[at]) ? (int)id : -1)];
    }

    Tensor ForwardForDrafts(Tensor ids, SequenceContext context)
    {
        var hybrid = (HybridLanguageModel)model;
        verified = hybrid.Hidden(ids, context);
        return hybrid.Logits(verified);
    }

    int DefaultChunk() => model.Device.type == TorchSharp.DeviceType.CUDA ? Math.Max(HostChunk, DeviceTokens / active.Count) : HostChunk;

    // whether steps run as a graph from now on
    bool StartLoop()
    {
        if (model is not HybridLanguageModel hybrid || model.Device.type != TorchSharp.DeviceType.CUDA) return false;
        ReserveRoom();
        if (!options.CudaGraphs || refusesGraphs) return false;
        if ((options.HostRule ?? StepGraph.Refusal(hybrid, active.Count)) is { } reason)
        {
            KernelEvents.Log.EagerSteps(reason);
            refusesGraphs = true;
            return false;
        }
        slots = [.. active];
        if (kept is not null && ReferenceEquals(kept.Cache, cache))
        {
            loop = kept.Loop;
            loop.Restart(slots, RuledOnDevice);
        }
        else loop = new DecodeLoop(hybrid, cache!, slots, RuledOnDevice, options.Temperature != 0, predicted is not null);
        return true;
    }

    // Steps that run directly have the memory of captured ones: attention composed of libtorch's operators reads all of it, and rounds differently
    // where its size differs.
    void ReserveRoom()
    {
        long room = Math.Min(options.MaxNewTokens, MaxRoom) + active.Max(row => row.Prompt.Count) + (options.DraftTokens ?? 0);
        cache!.Reserve((room + RoomStep - 1) / RoomStep * RoomStep);
    }

    Tensor RuledOnDevice(Tensor logits)
    {
        // none of these rules uses the earlier tokens
        var history = Enumerable.Repeat((IReadOnlyList<int>)[], (int)logits.size(0)).ToArray();
        var scores = Restricted(logits);
        foreach (var processor in processors) scores = processor.Apply(scores, history);
        return scores;
    }

    // the step whose tokens are requested runs already, unless it is the first
    GeneratedPiece[] ComputeLoop()
    {
        if (loop!.Pending == 0) loop.Launch();
        // rows that have ended continue in the batch until few are left; then only the others continue
        bool shrink = active.Count <= slots.Count / 2;
        bool another = active.Any(row => row.GeneratedCount + loop.Pending < options.MaxNewTokens);
        if (another && !shrink) loop.Launch();
        var ids = loop.Take();
        var pieces = new List<GeneratedPiece>();
        for (int slot = 0; slot < slots.Count; slot++)
        {
            if (slots[slot].IsFinished) continue;
            if (ids[slot] < 0) throw NotFinite(active.IndexOf(slots[slot]));
            pieces.Add(slots[slot].Accept(ids[slot]));
        }
        active.RemoveAll(row => row.IsFinished);
        if (shrink && active.Count > 0 && loop.Pending == 0) Shrink();
        return [.. pieces];
    }

    // Returns whether there is a loop whose graph can be used after other passes; disposes any other.
    bool HasLoop()
    {
        if (loop is null or { IsCurrent: true }) return loop is not null;
        if (ReferenceEquals(loop, kept?.Loop)) kept = null;         // the cache is this run's again
        loop.Dispose();
        loop = null;
        return false;
    }

    // a captured step whose tokens are needed before the next drafts
    GeneratedPiece[] ComputeAlone()
    {
        loop!.Restart(active, RuledOnDevice);
        loop.Launch();
        var ids = loop.Take();
        if (Array.FindIndex(ids, id => id < 0) is >= 0 and var row) throw NotFinite(row);
        var pieces = active.Select((row, i) => row.Accept(ids[i])).ToArray();
        DropFinished();
        return pieces;
    }

    void Shrink()
    {
        var staying = Enumerable.Range(0, slots.Count).Where(slot => !slots[slot].IsFinished).ToArray();
        ReduceTo(staying);
    }

    Tensor Continue() => Next(tensor(
        active.Select(row => (long)row.History[^1]).ToArray(), [active.Count, 1], ScalarType.Int64, device: model.Device), null);

    Tensor Next(Tensor ids, SequenceLayout? layout)
    {
        using var context = new SequenceContext(layout, cache);
        var logits = model.NextLogits(ids, context);
        if (logits.dim() != 2 || logits.size(0) != ids.size(0) || logits.size(1) < vocabulary)
            throw new InvalidOperationException(
                $"the model gave logits of [{string.Join(", ", logits.shape)}]; expected ({ids.size(0)}, {model.VocabularySize})");
        return logits;
    }

    // float32 scores of the tokens that exist
    Tensor Restricted(Tensor logits)
    {
        // a model may have more rows in its embedding than the tokenizer has tokens
        var scores = logits.size(1) > vocabulary ? logits.narrow(1, 0, vocabulary) : logits;
        if (scores.dtype != ScalarType.Float32) scores = scores.to(ScalarType.Float32);
        if (absent.Length > 0)
        {
            absentIds ??= tensor(absent.Select(id => (long)id).ToArray(), device: scores.device).DetachFromDisposeScope();
            scores = scores.index_fill(1, absentIds, Scalars.MinusInfinity);
        }
        return scores;
    }

    Tensor Ruled(Tensor scores)
    {
        var history = active.Select(row => row.History).ToArray();
        foreach (var processor in processors) scores = processor.Apply(scores, history);
        return scores;
    }

    int[] Choose(Tensor logits)
    {
        var scores = Ruled(Restricted(logits));
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

    // on the CPU, so that every device samples the same tokens
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
        $"no token can be chosen for prompt {active[row].Index} after {active[row].GeneratedCount} generated: the scores hold NaN or infinity, or "
        + "every token is ruled out");

    void DropFinished()
    {
        if (!active.Exists(row => row.IsFinished)) return;
        var staying = Enumerable.Range(0, active.Count).Where(row => !active[row].IsFinished).ToArray();
        active = [.. staying.Select(row => active[row])];
        if (active.Count > 0) ReduceTo(staying);
    }

    // goes on with these rows of the cache, without the loop over all of them
    void ReduceTo(IReadOnlyList<int> staying)
    {
        Keep();
        if (loop is not null && !ReferenceEquals(loop, kept?.Loop)) loop.Dispose();
        loop = null;
        var smaller = cache!.Select(staying);
        Release();
        cache = smaller;
        predicted?.Select(staying);
    }
}
