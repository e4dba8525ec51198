using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Generation;

/// <summary>
/// Decodes on a GPU with a captured graph, from the embedding of the last tokens to the selection of the next. The host receives token ids one step
/// later: while it processes those of a step, the next step runs.
/// </summary>
sealed class DecodeLoop : IDisposable
{
    const int Block = 64;           // random numbers uploaded at a time

    readonly HybridLanguageModel model;
    readonly HybridCache cache;
    readonly GraphWeights weights;
    readonly bool samples;
    readonly Tensor ids, result, numbers, at;
    readonly StepGraph graph;
    readonly DraftPasses drafts;
    readonly DeviceReadback[] readbacks;
    readonly DeviceUpload idsUpload;
    IReadOnlyList<GenerationRow> rows;
    Func<Tensor, Tensor> prepare;
    int launched, taken;

    /// <summary>Creates a loop over the rows of a cache.</summary>
    /// <param name="model">The model, on a GPU.</param>
    /// <param name="cache">The cache, with all tokens of the rows except the last. The caller disposes it.</param>
    /// <param name="rows">The rows, in the order of the cache.</param>
    /// <param name="prepare">Changes the scores (rows, vocabulary size) before the selection, without numbers from the host.</param>
    /// <param name="samples">Whether tokens are sampled; otherwise the most probable ones are selected.</param>
    /// <param name="keepsHidden">Whether passes that verify drafts keep the hidden vectors of their tokens.</param>
    public DecodeLoop(HybridLanguageModel model, HybridCache cache, IReadOnlyList<GenerationRow> rows, Func<Tensor, Tensor> prepare, bool samples,
        bool keepsHidden)
    {
        (this.model, this.cache, this.rows, this.prepare, this.samples) = (model, cache, rows, prepare, samples);
        using var scope = NewDisposeScope();
        var device = model.Device;
        weights = new GraphWeights(model);
        ids = Own(tensor(rows.Select(row => (long)row.History[^1]).ToArray(), [rows.Count, 1], ScalarType.Int64, device: device));
        result = Own(zeros([2, rows.Count], ScalarType.Int64, device));
        numbers = Own(zeros([rows.Count, Block], ScalarType.Float64, device));
        at = Own(zeros([1], ScalarType.Int64, device));
        idsUpload = new DeviceUpload(ids);
        graph = new StepGraph(cache, Step);
        drafts = new DraftPasses(model, cache, PrepareDrafts, keepsHidden);
        readbacks = [new(result), new(result)];
    }

    static Tensor Own(Tensor tensor) => tensor.DetachFromDisposeScope();

    /// <summary>Gets the number of steps that run and whose tokens have not been taken.</summary>
    public int Pending => launched - taken;

    /// <summary>Gets the number of captures.</summary>
    public int Captures => graph.Captures;

    /// <summary>Gets the number of captures of passes that verify drafts.</summary>
    public int DraftCaptures => drafts.Captures;

    /// <summary>Gets the size in bytes of what the graphs hold in addition to the cache.</summary>
    public long Bytes => drafts.CopyBytes;

    /// <summary>Gets whether the graphs read the weights of the model as they are.</summary>
    public bool IsCurrent => weights.IsCurrent();

    /// <summary>Begins again with other rows, as many as before, whose tokens except the last are in the cache.</summary>
    /// <param name="rows">The rows, in the order of the cache.</param>
    /// <param name="prepare">Does the same to the scores as that of the rows before.</param>
    public void Restart(IReadOnlyList<GenerationRow> rows, Func<Tensor, Tensor> prepare)
    {
        using var noGrad = no_grad();
        (this.rows, this.prepare) = (rows, prepare);
        idsUpload.Copy<long>([.. rows.Select(row => (long)row.History[^1])], ids);
        (launched, taken) = (0, 0);
    }

    /// <summary>Gets the number of kernels, copies and fills of a captured step; 0 before the capture.</summary>
    public long Nodes => graph.Nodes;

    /// <summary>Starts the next step of all rows.</summary>
    public void Launch()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        if (samples && launched % Block == 0) UploadNumbers();
        graph.Step();
        readbacks[launched % readbacks.Length].Begin(result);
        launched++;
    }

    /// <summary>Returns the tokens of the oldest step that has not been taken, one per row; -1 where none could be selected.</summary>
    public int[] Take()
    {
        var values = readbacks[taken++ % readbacks.Length].End<long>();
        return [.. Enumerable.Range(0, rows.Count).Select(row => values[rows.Count + row] == 0 ? -1 : (int)values[row])];
    }

    /// <summary>
    /// Returns the most probable token after each of the last tokens and drafts of every row; -1 where none could be selected. No other step may be
    /// pending.
    /// </summary>
    /// <param name="tokens">The tokens (rows, width), row by row.</param>
    /// <param name="width">The number of tokens of each row, at least 2.</param>
    public int[] Verify(long[] tokens, int width) => drafts.Verify(tokens, width);

    /// <summary>Keeps the first tokens of each row of the last pass of <see cref="Verify"/>, and removes the others from the cache.</summary>
    public void Keep(IReadOnlyList<int> counts, int width) => drafts.Keep(counts, width);

    /// <summary>Returns the hidden vectors of the last pass of <see cref="Verify"/>, (rows, width, model width), if they are kept.</summary>
    public Tensor Hidden(int width) => drafts.Hidden(width);

    Tensor PrepareDrafts(Tensor scores)
    {
        weights.Remember();
        return prepare(scores);
    }

    void UploadNumbers()
    {
        int pending = Pending;
        var values = new double[rows.Count * Block];
        for (int row = 0; row < rows.Count; row++)
            for (int i = 0; i < Block; i++) values[row * Block + i] = rows[row].NumberAt(rows[row].GeneratedCount + pending + i);
        numbers.copy_(tensor(values, [rows.Count, Block], ScalarType.Float64, device: model.Device));
        at.zero_();
    }

    // the captured work: nothing here may depend on numbers from the host
    void Step()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var context = new SequenceContext(cache: cache);
        var scores = prepare(model.NextLogitsDirectly(ids, context));
        if (!samples)
        {
            GreedyTokens.Select(scores, ids, result);
            weights.Remember();
            return;
        }
        var (next, chosen) = Sample(scores);
        ids.copy_(next.unsqueeze(1));
        result.select(0, 0).copy_(next);
        result.select(0, 1).copy_(chosen);
        weights.Remember();
    }

    // as RowRandom.Pick: the first token at which the sum of the weights exceeds its fraction of the total
    (Tensor Next, Tensor Chosen) Sample(Tensor scores)
    {
        var weights = scores.softmax(1);
        var sums = weights.to(ScalarType.Float64).cumsum(1);
        var total = sums.narrow(1, sums.size(1) - 1, 1);
        var target = numbers.index_select(1, at) * total;
        var below = sums.le(target).sum(1);
        var order = Indices.Range(0, sums.size(1), sums.device);
        var last = weights.gt(Scalars.Zero).to(ScalarType.Int64).mul(order).amax([1]);
        at.add_(ones_like(at), Scalars.One);
        return (below.minimum(last), total.squeeze(1).isfinite().logical_and(total.squeeze(1).gt(Scalars.Zero)));
    }

    public void Dispose()
    {
        graph.Dispose();
        drafts.Dispose();
        idsUpload.Dispose();
        foreach (var readback in readbacks) readback.Dispose();
        foreach (var tensor in new[] { ids, result, numbers, at }) tensor.Dispose();
    }
}
