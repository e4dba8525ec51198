using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Generation;

/// <summary>
/// Selects the most probable tokens after each of the few last tokens of every row of a cache on a GPU: a stepwise pass, as a captured graph after
/// the first ones.
/// </summary>
/// <remarks>
/// A captured pass writes its copies of the states into the same memory whenever it is launched, so the graph and its copies live and end together.
/// </remarks>
sealed class DraftPass : IDisposable
{
    readonly HybridLanguageModel model;
    readonly HybridCache cache;
    readonly Func<Tensor, Tensor> prepare;
    readonly Tensor ids, next, result, counts;
    readonly StepGraph graph;
    readonly DeviceUpload idsUpload, countsUpload;
    readonly DeviceReadback readback;
    readonly int tokens;
    IReadOnlyList<TokenCopies?>? copies;
    CudaGraph? replay;
    bool isReplayReady;

    /// <summary>Creates a pass.</summary>
    /// <param name="model">The model, on a GPU.</param>
    /// <param name="cache">The cache. The caller disposes it.</param>
    /// <param name="tokens">The number of tokens of each row, at least 2.</param>
    /// <param name="prepare">Changes the scores (rows x tokens, vocabulary size) before the selection, without numbers from the host.</param>
    /// <param name="keepsHidden">Whether <see cref="Hidden"/> is written. The default is false.</param>
    public DraftPass(HybridLanguageModel model, HybridCache cache, int tokens, Func<Tensor, Tensor> prepare, bool keepsHidden = false)
    {
        (this.model, this.cache, this.tokens, this.prepare) = (model, cache, tokens, prepare);
        using var scope = NewDisposeScope();
        ids = Own(zeros([cache.Batch, tokens], ScalarType.Int64, model.Device));
        next = Own(zeros([cache.Batch * tokens, 1], ScalarType.Int64, model.Device));
        result = Own(zeros([2, cache.Batch * tokens], ScalarType.Int64, model.Device));
        counts = Own(zeros([cache.Batch], ScalarType.Int64, model.Device));
        if (keepsHidden) Hidden = Own(zeros([cache.Batch, tokens, model.Design.Width], model.ComputeType, model.Device));
        graph = new StepGraph(cache, Step, tokens);
        CanBeCaptured = MayCapture(model, (long)cache.Batch * tokens);
        (idsUpload, countsUpload) = (new DeviceUpload(ids), new DeviceUpload(counts));
        readback = new DeviceReadback(result);
    }

    static Tensor Own(Tensor tensor) => tensor.DetachFromDisposeScope();

    /// <summary>Returns whether every module of a model permits the capture of passes over a number of tokens, of all rows together.</summary>
    public static bool MayCapture(HybridLanguageModel model, long tokens) =>
        StepGraph.RefusalOfModules(model, tokens, model.ComputeType) is null;

    /// <summary>Gets whether the modules of the model permit the capture.</summary>
    public bool CanBeCaptured { get; }

    /// <summary>
    /// Gets the hidden vectors of the tokens of the last pass, (rows, tokens, width), which the next pass overwrites; null if they are not kept.
    /// </summary>
    public Tensor? Hidden { get; }

    /// <summary>Gets the number of captures.</summary>
    public int Captures => graph.Captures;

    /// <summary>Gets whether the last pass was launched as a graph. The graph writes its copies of the states until it is disposed.</summary>
    public bool IsCaptured => graph.IsCaptured;

    /// <summary>Gets the number of kernels, copies and fills of a captured pass; 0 before the capture.</summary>
    public long Nodes => graph.Nodes;

    /// <summary>Gets the number of kernels that <see cref="Keep"/> launches as a graph after a rejection; 0 before the capture.</summary>
    public long ReplayNodes => replay?.Nodes ?? 0;

    /// <summary>Gets the size in bytes of the copies of the states that the last pass made; 0 before the first.</summary>
    public long CopyBytes { get; private set; }

    /// <summary>Runs the pass.</summary>
    /// <param name="values">The tokens (rows, tokens), row by row. None of them is in the cache.</param>
    /// <param name="captures">Whether the pass may be captured and launched as a graph. It must be true if <see cref="IsCaptured"/>.</param>
    /// <returns>The token after each of the tokens, in their order; -1 where none could be selected.</returns>
    public int[] Run(long[] values, bool captures)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        idsUpload.Copy<long>(values, ids);
        if (captures)
        {
            int before = graph.Captures;
            graph.Step();
            if (graph.Captures != before || !graph.IsCaptured) DisposeCopies();
            if (graph.Captures != before) copies = cache.TakeCopies();
        }
        else Step();
        CopyBytes = copies?.Sum(one => one?.Bytes ?? 0) ?? cache.CopyBytes;
        readback.Begin(result);
        var chosen = readback.End<long>();
        return [.. Enumerable.Range(0, values.Length).Select(at => chosen[values.Length + at] == 0 ? -1 : (int)chosen[at])];
    }

    /// <summary>After <see cref="Run"/>, keeps the first tokens of each row, at least one, in the cache, and removes the others.</summary>
    public void Keep(IReadOnlyList<int> counts)
    {
        if (copies is null) cache.KeepTokens(counts, tokens);
        else cache.KeepTokens(counts, tokens, copies, () => Replay(counts));
    }

    // computes states again after a captured pass: directly the first time, and then as a graph if the host takes no part in it
    void Replay(IReadOnlyList<int> values)
    {
        if (!copies!.Any(one => one is { HasReplays: true })) return;
        countsUpload.Copy<long>([.. values.Select(value => (long)value)], counts);
        void Body() => cache.Replay(copies!, counts);
        if (!copies!.All(one => one is null or { ReplaysOnDevice: true })) Body();
        else if (isReplayReady)
        {
            replay ??= CudaGraphPool.For(counts.device_index).Capture(Body);
            replay.Launch();
        }
        else isReplayReady = CudaGraphPool.For(counts.device_index).Run(Body);
    }

    // the captured work: nothing here may depend on numbers from the host
    void Step()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var context = new SequenceContext(cache: cache) { IsStepwise = true };
        var hidden = model.Hidden(ids, context);
        Hidden?.copy_(hidden);
        GreedyTokens.Select(prepare(model.Logits(hidden).flatten(0, 1)), next, result);
    }

    void DisposeCopies()
    {
        replay?.Dispose();
        (replay, isReplayReady) = (null, false);
        foreach (var one in copies ?? []) one?.Dispose();
        copies = null;
    }

    public void Dispose()
    {
        graph.Dispose();
        idsUpload.Dispose();
        countsUpload.Dispose();
        readback.Dispose();
        DisposeCopies();
        foreach (var tensor in new[] { ids, next, result, counts, Hidden }) tensor?.Dispose();
    }
}
