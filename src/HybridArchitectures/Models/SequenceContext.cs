using HybridArchitectures.Design;
using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Modules;
using static TorchSharp.torch;

namespace HybridArchitectures.Models;

/// <summary>
/// What travels with the activations of one forward pass: how rows are filled, where they stand, and the cache they continue from. Pads and other documents never
/// touch attention, convolution or state-space states.
/// </summary>
public sealed class SequenceContext : IDisposable
{
    readonly Dictionary<(RotarySpec Spec, int HeadSize), (Tensor Cosine, Tensor Sine)> tables = [];
    readonly List<Tensor> owned = [];
    readonly List<(Tensor Value, double? BalanceRate)> losses = [];
    readonly List<RouterRecord> routing = [];
    readonly bool ownsLayout;
    AttentionPositions? attentionPositions;
    Tensor? order, inverse, positions;
    bool begun;

    /// <summary>A context.</summary>
    /// <param name="layout">Pads and documents; null when every row is one full document. Stays the caller's.</param>
    /// <param name="cache">What the rows continue from and what is updated; null for none. Stays the caller's. A pass with a cache records no gradients.</param>
    public SequenceContext(SequenceLayout? layout = null, HybridCache? cache = null)
    {
        if (cache is not null && layout?.DocumentIds is not null)
            throw new ArgumentException("a cache continues one document a row; packed rows cannot be added to it: pass each document as a row", nameof(layout));
        Layout = layout;
        Cache = cache;
    }

    SequenceContext(SequenceLayout layout, HybridCache? cache, Tensor order, Tensor inverse) : this(layout, cache)
    {
        ownsLayout = true;
        this.order = order;
        this.inverse = inverse;
    }

    /// <summary>The context in which a block is computed again: the same rows, documents and pads; no cache.</summary>
    internal static SequenceContext ForRecomputation(SequenceLayout? layout) => new(layout, ownsLayout: true) { IsRecomputation = true };

    SequenceContext(SequenceLayout? layout, bool ownsLayout) : this(layout) => this.ownsLayout = ownsLayout;

    /// <summary>A context for rows padded on the left, on the right or on both sides.</summary>
    /// <param name="mask">(batch, length) bool or integer: true or nonzero at real tokens.</param>
    /// <param name="cache">What the rows continue from, or null.</param>
    public static SequenceContext FromMask(Tensor mask, HybridCache? cache = null)
    {
        ArgumentNullException.ThrowIfNull(mask);
        if (mask.dim() != 2) throw new ArgumentException($"the mask has {mask.dim()} dimensions; expected 2 (batch, length)", nameof(mask));
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var real = mask.to(ScalarType.Int64).ne(Scalars.Zero);
        var lengths = TensorMemory.ToArray<long>(real.sum(1));
        // real tokens first, each side in its own order: keys are unique, so no stable sort is needed
        var columns = Indices.Range(0, mask.size(1), mask.device);
        var order = real.logical_not().to(ScalarType.Int64).mul(Scalars.From(mask.size(1))).add(columns, Scalars.One).argsort(dim: 1);
        var inverse = order.argsort(dim: 1);
        var layout = SequenceLayout.Padded(lengths, mask.size(1), mask.device);
        return new SequenceContext(layout, cache, order.DetachFromDisposeScope(), inverse.DetachFromDisposeScope());
    }

    /// <summary>Pads and documents; null when every row is one full document.</summary>
    public SequenceLayout? Layout { get; }

    /// <summary>What the rows continue from, or null.</summary>
    public HybridCache? Cache { get; }

    /// <summary>Rows of the pass.</summary>
    public long Batch { get; private set; }

    /// <summary>Columns of the pass.</summary>
    public long Length { get; private set; }

    /// <summary>Where the pass runs.</summary>
    public Device Device { get; private set; } = CPU;

    /// <summary>Position of every token in its document: (length) if the same in each row, else (batch, length); int64.</summary>
    public Tensor Positions => positions ??= ComputePositions();

    /// <summary>
    /// Tokens of each row with those of this pass, (batch) int32 on the device, where the pass is a decoding step that takes no numbers of
    /// the host; else null.
    /// </summary>
    internal Tensor? StepLengths { get; private set; }

    /// <summary>Tokens each row had seen before this pass.</summary>
    public IReadOnlyList<long> PastLengths { get; private set; } = [];

    /// <summary>Whether all rows have seen equally many tokens and none has pads.</summary>
    public bool IsUniform { get; private set; }

    /// <summary>The most tokens a row has seen when this pass is over.</summary>
    public long TotalLength { get; private set; }

    /// <summary>What the first block reads, (batch, length, width); null in a design without shared transformers.</summary>
    internal Tensor? Embedded { get; set; }

    /// <summary>Losses that layers add to the model's (mixture-of-experts balance and router losses); scalars with their coefficient applied. One that layers have in common is formed anew at every
    /// call, in the current dispose scope.</summary>
    public IReadOnlyList<Tensor> AuxiliaryLosses =>
    [
        .. losses.Where(loss => loss.BalanceRate is null).Select(loss => loss.Value),
        .. losses.Where(loss => loss.BalanceRate is not null).GroupBy(loss => (loss.BalanceRate, loss.Value.size(1)))
            .Select(group => LoadBalance.Loss([.. group.Select(loss => loss.Value)]).mul(Scalars.From(group.Key.BalanceRate!.Value))),
    ];

    /// <summary>Whether routers leave a record of the pass in <see cref="Routing"/>.</summary>
    public bool KeepsRouting { get; init; }

    /// <summary>What the routers of the last pass decided, in the order of the blocks, if <see cref="KeepsRouting"/>; without gradient, valid until the next pass.</summary>
    public IReadOnlyList<RouterRecord> Routing => routing;

    /// <summary>
    /// Whether the few tokens of the pass are computed as so many steps would: weights are read once for all, states move token by token and
    /// remember what
    /// they were after each, so that <see cref="HybridCache.KeepTokens"/> can take tokens back.
    /// </summary>
    internal bool IsStepwise { get; init; }

    /// <summary>The block at work, from 0.</summary>
    internal int Block { get; set; }

    internal void Record(Tensor logits, Tensor chosen)
    {
        if (KeepsRouting) routing.Add(new(Block + 1, Own(logits.detach()), Own(chosen.alias())));
    }

    /// <summary>
    /// Whether this pass computes a block again for its gradients (see <see cref="HybridStack.ActivationCheckpointing"/>). A layer that counts or remembers what it
    /// sees must not do so again here; losses are to be added as in the first pass.
    /// </summary>
    public bool IsRecomputation { get; private init; }

    /// <summary>Adds a scalar, its coefficient applied, to the loss of the model.</summary>
    public void AddLoss(Tensor loss) => losses.Add((loss.DetachFromDisposeScope(), null));

    /// <summary>Adds a layer's terms of the <see cref="LoadBalance"/> loss that it has in common with others of this rate.</summary>
    internal void AddBalance(Tensor terms, double rate) => losses.Add((terms.DetachFromDisposeScope(), rate));

    internal int LossCount => losses.Count;

    /// <summary>Takes out the losses added after the first <paramref name="count"/>, into the current dispose scope.</summary>
    internal (Tensor Value, double? BalanceRate)[] TakeLosses(int count)
    {
        var taken = losses[count..];
        losses.RemoveRange(count, losses.Count - count);
        return [.. taken.Select(loss =>
        {
            using (loss.Value) return (loss.Value.alias(), loss.BalanceRate);
        })];
    }

    /// <summary>Real tokens of a row in this pass.</summary>
    public long RowLength(int row) => Layout?.RowLengths is { } lengths ? lengths[row] : Length;

    /// <summary>Starts a pass over (batch, length) tokens.</summary>
    internal void Begin(long batch, long length, Device device)
    {
        if (Layout is not null && (Layout.Batch != batch || Layout.Length != length))
            throw new ArgumentException($"the layout describes ({Layout.Batch}, {Layout.Length}) tokens; the input is ({batch}, {length})");
        if (Cache is not null && Cache.Batch != batch)
            throw new ArgumentException($"the cache holds {Cache.Batch} rows; the input has {batch}");
        Release();
        (Batch, Length, Device) = (batch, length, device);
        PastLengths = Cache is null ? new long[batch] : [.. Cache.Lengths];
        long first = PastLengths.Count > 0 ? PastLengths[0] : 0;
        IsUniform = Layout?.RowLengths is null && PastLengths.All(past => past == first);
        TotalLength = Enumerable.Range(0, (int)batch).Select(row => PastLengths[row] + RowLength(row)).DefaultIfEmpty(0).Max();
        begun = true;
        bool isStep = Cache is not null && Layout is null && batch > 0 && !is_grad_enabled()
            && (IsStepwise ? length <= AttentionDecode.MaxQueries : length == 1 && Cache.StepsOnDevice);
        StepLengths = isStep ? Cache!.BeginStep(length, device) : null;
    }

    /// <summary>Starts a pass over these activations, (batch, length, ...), unless one of their size has been started.</summary>
    internal void BeginFor(Tensor x)
    {
        if (!begun) Begin(x.size(0), x.size(1), x.device);
        else if (Batch != x.size(0) || Length != x.size(1))
            throw new ArgumentException($"x has shape {Checks.Describe(x)}; expected ({Batch}, {Length}, width), as the context's pass", nameof(x));
    }

    Tensor ComputePositions()
    {
        if (!begun) return null!;
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        return Own(ComputePositions(PastLengths.Count > 0 ? PastLengths[0] : 0));
    }

    Tensor ComputePositions(long first)
    {
        if (Layout?.DocumentIds is not null)
        {
            var columns = Indices.Range(0, Length, Device);
            if (Length == 0) return columns;
            if (Layout.Starts is not { } begins) return columns.unsqueeze(0).expand(Layout.Batch, Length);      // every row is one document
            var starts = begins.to(ScalarType.Int64) * columns;         // column of a start, 0 elsewhere
            return columns - starts.cummax(1).values;
        }
        var steps = Indices.Range(first, Length, Device);
        if (PastLengths.All(past => past == first)) return steps;
        var past = Indices.From(PastLengths.Select(length => length - first), Device);
        return past.unsqueeze(1).add(steps, Scalars.One);
    }

    /// <summary>Cosine and sine of the rotary angles at this pass's positions, computed once for all layers of one kind.</summary>
    public (Tensor Cosine, Tensor Sine) RotaryTable(RotarySpec spec, int headSize)
    {
        ArgumentNullException.ThrowIfNull(spec);
        if (tables.TryGetValue((spec, headSize), out var table)) return table;
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var frequencies = Rotary.InverseFrequencies(spec.Dimensions(headSize), spec.Theta, spec.Scaling, Device);
        var (cosine, sine) = Rotary.Table(Positions, frequencies);
        return tables[(spec, headSize)] = (Own(cosine), Own(sine));
    }

    /// <summary>The same tables for a decoding step: all positions, (positions, half) each.</summary>
    internal (Tensor Cosine, Tensor Sine) StepTable(RotarySpec spec, int headSize) => Cache!.StepTable(spec, headSize, TotalLength, Device);

    /// <summary>
    /// Positions of queries and of keys stored from position 0 on, for attention over all a row has seen; null where plain causal order says it all
    /// (no packed documents, and no rows of unequal past).
    /// </summary>
    internal AttentionPositions? FullAttentionPositions()
    {
        if (attentionPositions is not null) return attentionPositions;
        bool documents = Layout?.DocumentIds is not null;
        // right pads come after every real token: causal order alone hides them, unless rows stand at different places in the cache
        if (!documents && (Cache is null || IsUniform)) return null;
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        Tensor queries, keys;
        if (documents)
        {
            queries = Positions;
            keys = Layout!.Valid is null ? Positions : Positions.masked_fill(Layout.Valid.logical_not(), Scalars.MinusOne);
        }
        else
        {
            queries = PositionsPerRow();
            var slots = Indices.Range(0, TotalLength, Device).unsqueeze(0);
            var totals = RowTotals();
            keys = slots.expand(Batch, TotalLength).masked_fill(slots.ge(totals), Scalars.MinusOne);
        }
        return attentionPositions = new AttentionPositions(Own(queries.alias()), Own(keys.alias()), Layout?.DocumentIds, Layout?.DocumentIds) { Bounds = AttentionBounds(documents) };
    }

    // what the CUDA kernels take instead of positions: here keys stand in order
    Tensor? AttentionBounds(bool documents)
    {
        if (Device.type != TorchSharp.DeviceType.CUDA || Length < 2) return null;
        var positions = PositionsPerRow();
        var begins = documents ? Indices.Range(0, Length, Device).sub(positions) : zeros_like(positions);
        var ends = begins.add(positions, Scalars.One).add(Scalars.One, Scalars.One);
        if (Layout?.Valid is { } valid) ends = ends.masked_fill(valid.logical_not(), Scalars.Zero);
        return Own(Kernels.Cuda.Attention.AttentionBounds.Pack(begins, ends));
    }

    /// <summary>Tokens each row has seen when this pass is over: (batch, 1) int64.</summary>
    internal Tensor RowTotals() => Indices.From(Enumerable.Range(0, (int)Batch).Select(row => PastLengths[row] + RowLength(row)), Device).unsqueeze(1);

    /// <summary><see cref="Positions"/> as (batch, length).</summary>
    internal Tensor PositionsPerRow() => Positions.dim() == 2 ? Positions : Positions.unsqueeze(0).expand(Batch, Length);

    /// <summary>(batch, length) bool in the caller's order, false at pads; null without pads.</summary>
    internal Tensor? RealTokens() => Layout?.Valid is { } valid ? FromRightPadded(valid) : null;

    /// <summary>Rows padded on the left come in here with their real tokens first.</summary>
    internal Tensor ToRightPadded(Tensor x) =>
        order is null ? x : x.dim() == 2 ? x.gather(1, order) : x.gather(1, order.unsqueeze(-1).expand(x.size(0), x.size(1), x.size(2)));

    /// <summary>And go out in the caller's order.</summary>
    internal Tensor FromRightPadded(Tensor x) =>
        inverse is null ? x : x.dim() == 2 ? x.gather(1, inverse) : x.gather(1, inverse.unsqueeze(-1).expand(x.size(0), x.size(1), x.size(2)));

    Tensor Own(Tensor tensor)
    {
        owned.Add(tensor.DetachFromDisposeScope());
        return tensor;
    }

    void Release()
    {
        foreach (var tensor in owned.Concat(losses.Select(loss => loss.Value))) tensor.Dispose();
        routing.Clear();
        losses.Clear();
        owned.Clear();
        tables.Clear();
        attentionPositions = null;
        positions = null;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Release();
        order?.Dispose();
        inverse?.Dispose();
        (order, inverse) = (null, null);
        if (ownsLayout) Layout?.Dispose();
    }
}
