using System.Diagnostics.CodeAnalysis;
using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Sequence;

/// <summary>
/// Describes the rows of one forward pass: padding, documents, positions, and the cache from which the rows continue. Padding and other documents
/// never affect attention, convolutions or state-space states.
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
    bool begun, isAhead;

    /// <summary>Creates a context.</summary>
    /// <param name="layout">Padding and documents. The default, null, means that every row is one full document. The caller disposes it.</param>
    /// <param name="cache">
    /// The cache from which the rows continue, and which is updated. The default is null. The caller disposes it. A pass with a cache records no
    /// gradients.
    /// </param>
    public SequenceContext(SequenceLayout? layout = null, HybridCache? cache = null)
    {
        if (cache is not null && layout?.DocumentIds is not null)
            throw Require.Unfit(nameof(layout), "layout has packed rows, but cache is given", "one document per row with a cache");
        Layout = layout;
        Cache = cache;
    }

    SequenceContext(SequenceLayout layout, HybridCache? cache, Tensor order, Tensor inverse) : this(layout, cache)
    {
        ownsLayout = true;
        this.order = order;
        this.inverse = inverse;
    }

    /// <summary>Returns the context in which a block is computed again: the same rows, documents and padding; no cache.</summary>
    internal static SequenceContext ForRecomputation(SequenceLayout? layout) => new(layout, ownsLayout: true) { IsRecomputation = true };

    SequenceContext(SequenceLayout? layout, bool ownsLayout) : this(layout) => this.ownsLayout = ownsLayout;

    /// <summary>Creates a context for rows with padding on the left, on the right or on both sides.</summary>
    /// <param name="mask">(batch, length) bool or integer: true or nonzero at tokens that are not padding.</param>
    /// <param name="cache">The cache from which the rows continue. The default is null.</param>
    /// <returns>A context that the caller disposes.</returns>
    public static SequenceContext FromMask(Tensor mask, HybridCache? cache = null)
    {
        ArgumentNullException.ThrowIfNull(mask);
        if (mask.dim() != 2) throw Require.Unfit(nameof(mask), $"the mask has {mask.dim()} dimensions", "2 (batch, length)");
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var real = mask.to(ScalarType.Int64).ne(Scalars.Zero);
        var lengths = TensorMemory.ToArray<long>(real.sum(1));
        // tokens first, padding last, each in order: keys are unique, so no stable sort is needed
        var columns = Indices.Range(0, mask.size(1), mask.device);
        var order = real.logical_not().to(ScalarType.Int64).mul(Scalars.From(mask.size(1))).add(columns, Scalars.One).argsort(dim: 1);
        var inverse = order.argsort(dim: 1);
        var layout = SequenceLayout.Padded(lengths, mask.size(1), mask.device);
        return new SequenceContext(layout, cache, order.DetachFromDisposeScope(), inverse.DetachFromDisposeScope());
    }

    /// <summary>Gets padding and documents; null if every row is one full document.</summary>
    public SequenceLayout? Layout { get; }

    /// <summary>Gets the cache from which the rows continue, or null.</summary>
    public HybridCache? Cache { get; }

    /// <summary>Gets the number of rows of the pass.</summary>
    public long Batch { get; private set; }

    /// <summary>Gets the number of columns of the pass.</summary>
    public long Length { get; private set; }

    /// <summary>Gets the device of the pass.</summary>
    public Device Device { get; private set; } = CPU;

    /// <summary>Gets the position of every token in its document, int64: (length) if it is the same in each row, otherwise (batch, length).</summary>
    public Tensor Positions => positions ??= ComputePositions();

    /// <summary>
    /// Gets the number of tokens of each row including this pass, (batch) int32 on the device, if the pass is a decoding step that needs no numbers
    /// from the host; otherwise null.
    /// </summary>
    internal Tensor? StepLengths { get; private set; }

    /// <summary>Gets the number of tokens of each row before this pass.</summary>
    public IReadOnlyList<long> PastLengths { get; private set; } = [];

    /// <summary>Gets whether all rows have the same number of tokens before this pass and none has padding.</summary>
    public bool IsUniform { get; private set; }

    /// <summary>Gets the number of tokens of the longest row after this pass.</summary>
    public long TotalLength { get; private set; }

    /// <summary>Gets the input of the first block, (batch, length, width); null in a design without shared transformers.</summary>
    internal Tensor? Embedded { get; set; }

    /// <summary>
    /// Gets the values of the first layer of RWKV-7, (batch, length, inner width), for later layers of the pass; null before that layer.
    /// </summary>
    internal Tensor? FirstValues { get; private set; }

    /// <summary>Hands values to later layers of the pass. The context owns an alias, so that the values outlive their dispose scope.</summary>
    internal void HandOnValues(Tensor values)
    {
        DropFirstValues();
        FirstValues = values.alias().DetachFromDisposeScope();
    }

    /// <summary>Removes the values of the first layer and returns them in the current dispose scope.</summary>
    internal Tensor TakeFirstValues()
    {
        var values = FirstValues!.alias();
        DropFirstValues();
        return values;
    }

    internal void DropFirstValues()
    {
        FirstValues?.Dispose();
        FirstValues = null;
    }

    /// <summary>
    /// Gets the losses that layers add to the loss of the model (balance and router losses of a mixture of experts), as scalars with their
    /// coefficients. A loss that several layers share is computed in every call, in the current dispose scope.
    /// </summary>
    public IReadOnlyList<Tensor> AuxiliaryLosses =>
    [
        .. losses.Where(loss => loss.BalanceRate is null).Select(loss => loss.Value),
        .. losses.Where(loss => loss.BalanceRate is not null).GroupBy(loss => (loss.BalanceRate, loss.Value.size(1)))
            .Select(group => LoadBalance.Loss([.. group.Select(loss => loss.Value)]).mul(Scalars.From(group.Key.BalanceRate!.Value))),
    ];

    /// <summary>Gets or sets whether routers record their decisions in <see cref="Routing"/>. The default is false.</summary>
    public bool KeepsRouting { get; init; }

    /// <summary>
    /// Gets the decisions of the routers in the last pass, in the order of the blocks, if <see cref="KeepsRouting"/>. They have no gradient and are
    /// valid until the next pass.
    /// </summary>
    public IReadOnlyList<RouterRecord> Routing => routing;

    /// <summary>
    /// Gets whether the few tokens of the pass are computed as separate steps: weights are read once, and states advance by one token at a time and
    /// save what <see cref="HybridCache.KeepTokens(IReadOnlyList{int}, int)"/> needs to remove tokens.
    /// </summary>
    internal bool IsStepwise { get; init; }

    /// <summary>
    /// Returns whether tokens of the pass update the state of a mixer in place, one after another: a single token of each row, or a stepwise pass.
    /// </summary>
    internal bool IsDecoding([NotNullWhen(true)] MixerState? state, long length) =>
        state is not null && (length == 1 || IsStepwise) && Layout?.Valid is null;

    /// <summary>Gets or sets the current block, from 0.</summary>
    internal int Block { get; set; }

    /// <summary>Gets the receiver of intermediate results; null, the default, for none.</summary>
    internal IPassProbe? Probe { get; init; }

    /// <summary>
    /// Gets the function that computes each mixer of the stack in place of the mixer itself; null, the default, for none. It receives this context,
    /// whose <see cref="Block"/> is the number of the block, the input of the mixer, (batch, length, width), and the mixer as a function. Decoding
    /// steps are not passed to it.
    /// </summary>
    internal Func<SequenceContext, Tensor, Func<Tensor, Tensor>, Tensor>? AroundMixer { get; init; }

    internal void Record(Tensor logits, Tensor chosen)
    {
        if (KeepsRouting) routing.Add(new(Block + 1, Own(logits.detach()), Own(chosen.alias())));
    }

    /// <summary>
    /// Gets or sets whether this pass computes a block again for its gradients (see <see cref="Models.HybridStack.ActivationCheckpointing"/>). A
    /// layer that counts or stores its inputs must not do so again. Losses are added as in the first pass.
    /// </summary>
    public bool IsRecomputation { get; private init; }

    /// <summary>Adds a scalar, which includes its coefficient, to the loss of the model.</summary>
    public void AddLoss(Tensor loss)
    {
        Require.Alive(loss);
        losses.Add((loss.DetachFromDisposeScope(), null));
    }

    /// <summary>Adds the terms of a layer to the <see cref="LoadBalance"/> loss that it shares with other layers of this rate.</summary>
    internal void AddBalance(Tensor terms, double rate) => losses.Add((terms.DetachFromDisposeScope(), rate));

    internal int LossCount => losses.Count;

    /// <summary>Removes the losses added after the first <paramref name="count"/> and returns them in the current dispose scope.</summary>
    internal (Tensor Value, double? BalanceRate)[] TakeLosses(int count)
    {
        var taken = losses[count..];
        losses.RemoveRange(count, losses.Count - count);
        return [.. taken.Select(loss =>
        {
            using (loss.Value) return (loss.Value.alias(), loss.BalanceRate);
        })];
    }

    /// <summary>Returns the number of tokens of a row in this pass without padding.</summary>
    public long RowLength(int row) => Layout?.RowLengths is { } lengths ? lengths[row] : Length;

    /// <summary>
    /// Begins the pass before the embedding of its tokens. So a kernel of libtorch lies between the lengths of a step and the first kernel that reads
    /// them without waiting for the previous one.
    /// </summary>
    internal void BeginAhead(long batch, long length, Device device)
    {
        Cache?.RequireAlive();
        isAhead = false;
        Begin(batch, length, device);
        isAhead = true;
    }

    /// <summary>Begins a pass over (batch, length) tokens, unless <see cref="BeginAhead"/> has.</summary>
    internal void Begin(long batch, long length, Device device)
    {
        bool hasBegun = isAhead && (Batch, Length) == (batch, length);
        isAhead = false;
        if (hasBegun) return;
        if (Layout is not null && (Layout.Batch != batch || Layout.Length != length))
            throw Require.Unfit(null, $"layout has ({Layout.Batch}, {Layout.Length}) tokens", $"({batch}, {length}), as the input has");
        if (Cache is not null && Cache.Batch != batch)
            throw Require.Unfit(null, $"cache has {Cache.Batch} rows", $"{batch}, as the input has");
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

    /// <summary>Describes a pass over one token per row whose work another context of the cache does.</summary>
    internal void BeginElsewhere(long batch, Device device)
    {
        Release();
        (Batch, Length, Device) = (batch, 1, device);
        PastLengths = [.. Cache!.Lengths];
        IsUniform = PastLengths.All(past => past == PastLengths[0]);
        TotalLength = PastLengths.Max() + 1;
        begun = true;
        StepLengths = null;
    }

    /// <summary>Begins a pass over activations, (batch, length, ...), unless one of this size has begun.</summary>
    internal void BeginFor(Tensor x)
    {
        if (!begun) Begin(x.size(0), x.size(1), x.device);
        else if (Batch != x.size(0) || Length != x.size(1))
            throw Require.Unfit(nameof(x), $"x has shape {Checks.Describe(x)}", $"({Batch}, {Length}, width), as the context's pass");
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
            var starts = begins.to(ScalarType.Int64) * columns;         // the column of a start, 0 elsewhere
            return columns - starts.cummax(1).values;
        }
        var steps = Indices.Range(first, Length, Device);
        if (PastLengths.All(past => past == first)) return steps;
        var past = Indices.From(PastLengths.Select(length => length - first), Device);
        return past.unsqueeze(1).add(steps, Scalars.One);
    }

    /// <summary>Returns cosines and sines of the rotary angles at the positions of this pass, computed once for all layers of one kind.</summary>
    /// <exception cref="InvalidOperationException">The context belongs to no pass yet.</exception>
    public (Tensor Cosine, Tensor Sine) RotaryTable(RotarySpec spec, int headSize)
    {
        ArgumentNullException.ThrowIfNull(spec);
        if (!begun) throw new InvalidOperationException("the context belongs to no pass; expected one that a model or stack has begun");
        if (tables.TryGetValue((spec, headSize), out var table)) return table;
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var (cosine, sine) = RotaryTables.At(Positions, spec, headSize, TotalLength);
        return tables[(spec, headSize)] = (Own(cosine), Own(sine));
    }

    /// <summary>Returns the same tables for a decoding step: all positions, (positions, half) each.</summary>
    internal (Tensor Cosine, Tensor Sine) StepTable(RotarySpec spec, int headSize) => Cache!.StepTable(spec, headSize, TotalLength, Device);

    /// <summary>Returns the counters of decoding attention with a number of query heads; null on the CPU.</summary>
    internal AttentionDecodeWorkspace? StepWorkspace(int heads) =>
        Device.type == TorchSharp.DeviceType.CUDA ? Cache!.StepWorkspace(heads, Device) : null;

    /// <summary>
    /// Returns the positions of queries and of keys stored from position 0, for attention over all tokens of a row; null if causal order is
    /// sufficient (no packed documents, and no rows of different lengths before the pass).
    /// </summary>
    internal AttentionPositions? FullAttentionPositions()
    {
        if (attentionPositions is not null) return attentionPositions;
        bool documents = Layout?.DocumentIds is not null;
        // right padding follows all tokens: causal order hides it, unless the rows have different lengths in the cache
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
        return attentionPositions = new AttentionPositions(
            Own(queries.alias()), Own(keys.alias()), Layout?.DocumentIds, Layout?.DocumentIds) { Bounds = AttentionBounds(documents) };
    }

    // the CUDA kernels use these instead of positions: keys are in order here
    Tensor? AttentionBounds(bool documents)
    {
        if (Device.type != TorchSharp.DeviceType.CUDA || Length < 2) return null;
        var positions = PositionsPerRow();
        var begins = documents ? Indices.Range(0, Length, Device).sub(positions) : zeros_like(positions);
        var ends = begins.add(positions, Scalars.One).add(Scalars.One, Scalars.One);
        if (Layout?.Valid is { } valid) ends = ends.masked_fill(valid.logical_not(), Scalars.Zero);
        return Own(Kernels.AttentionBounds.Pack(begins, ends));
    }

    /// <summary>Returns the number of tokens of each row after this pass: (batch, 1) int64.</summary>
    internal Tensor RowTotals() =>
        Indices.From(Enumerable.Range(0, (int)Batch).Select(row => PastLengths[row] + RowLength(row)), Device).unsqueeze(1);

    /// <summary>Returns <see cref="Positions"/> as (batch, length).</summary>
    internal Tensor PositionsPerRow() => Positions.dim() == 2 ? Positions : Positions.unsqueeze(0).expand(Batch, Length);

    /// <summary>Returns false at padding, in the order of the caller: (batch, length) bool; null without padding.</summary>
    internal Tensor? RealTokens() => Layout?.Valid is { } valid ? FromRightPadded(valid) : null;

    /// <summary>Moves the tokens of rows with padding on the left to the front.</summary>
    internal Tensor ToRightPadded(Tensor x) =>
        order is null ? x : x.dim() == 2 ? x.gather(1, order) : x.gather(1, order.unsqueeze(-1).expand(x.size(0), x.size(1), x.size(2)));

    /// <summary>Restores the order of the caller.</summary>
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
        DropFirstValues();
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
