using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>
/// Computes causal attention with grouped key/value heads, rotary positions, and optionally a sliding window with sinks (arXiv 2305.13245,
/// 2104.09864, 2309.17453).
/// </summary>
public sealed class Attention : Mixer
{
    readonly AttentionSpec spec;
    readonly int inputWidth;
    readonly Linear query, key;
    readonly Linear? value, output;
    readonly RootMeanSquareNorm? queryNorm, keyNorm;

    /// <summary>Creates an attention mixer.</summary>
    /// <param name="factory">Creates the parameters.</param>
    /// <param name="spec">Heads, sizes, window and positions.</param>
    /// <param name="ownValues">
    /// Whether the mixer has a value projection. An intra-layer hybrid can use the values of its other branch instead. The default is true.
    /// </param>
    /// <param name="ownOutput">Whether the mixer has an output projection. With false, a joint projection follows. The default is true.</param>
    public Attention(ModuleFactory factory, AttentionSpec spec, bool ownValues = true, bool ownOutput = true) : this(
        factory, spec, factory?.Width ?? 0, ownValues, ownOutput) { }

    /// <summary>Creates attention whose input width differs from its output width.</summary>
    internal Attention(ModuleFactory factory, AttentionSpec spec, int inputWidth, bool ownValues = true, bool ownOutput = true)
        : base(nameof(Attention), spec)
    {
        ModuleChecks.Spec(factory, spec, inputWidth);
        (this.spec, this.inputWidth) = (spec, inputWidth);
        query = Add("query", new Linear(factory.Projection(spec.QueryProjectionWidth, inputWidth),
            spec.InputBias ? factory.Bias(spec.QueryProjectionWidth) : null) { Layout = QueryLayout });
        key = Add("key", Project(factory, spec.KeyWidth, inputWidth, spec.KeyValueHeads));
        if (ownValues) value = Add("value", Project(factory, spec.ValueWidth, inputWidth, spec.KeyValueHeads));
        if (spec.QkNorm)
        {
            bool together = spec.QkNormAcrossHeads;
            queryNorm = Add("query_norm", new RootMeanSquareNorm(factory, together ? spec.QueryWidth : spec.HeadSize, factory.NormEpsilon));
            keyNorm = Add("key_norm", new RootMeanSquareNorm(factory, together ? spec.KeyWidth : spec.HeadSize, factory.NormEpsilon));
        }
        if (ownOutput)
            output = Add("output", new Linear(
                factory.Projection(factory.Width, spec.OutputWidth, intoResidual: true), spec.OutputBias ? factory.Bias(factory.Width) : null));
    }

    // queries and gates are ordered by head
    MatrixLayout QueryLayout => spec.OutputGate ? new([spec.HeadSize, spec.ValueHeadSize]) { Repeats = spec.Heads }
        : new([spec.QueryProjectionWidth], spec.HeadSize);

    Linear Project(ModuleFactory factory, int outputs, int inputs, int heads) =>
        new(factory.Projection(outputs, inputs), spec.InputBias ? factory.Bias(outputs) : null) { Layout = new([outputs], outputs / heads) };

    /// <inheritdoc/>
    public override Tensor Forward(Tensor x, SequenceContext context, MixerState? state) => Project(Attend(x, context, state));

    /// <inheritdoc/>
    internal override Tensor? StepSum(StepInput input, SequenceContext context, MixerState state) =>
        output is not null && IsUnscaled ? output.ForwardSum(AttendStep(input, context, state), input.Stream) : null;

    /// <summary>Gets whether nothing is multiplied before and after the projections, so that <see cref="AttendStep"/> can be used.</summary>
    internal bool IsUnscaled => spec is { InputScale: 1, OutputScale: 1 };

    /// <summary>Computes attention of a decoding step before the output projection.</summary>
    internal Tensor AttendStep(StepInput input, SequenceContext context, MixerState state, Tensor? givenValues = null)
    {
        if (givenValues is null && queryNorm is null && spec is { OutputGate: false, KeyScale: 1 } && Target(context, state) is { } target
            && Linear.ForwardCached(input, target, query, key, value!) is { } turned)
        {
            var x = input.Stream;
            var attended = Step(turned.view(x.size(0), x.size(1), spec.Heads, spec.HeadSize), context, state);
            return attended.reshape(x.size(0), x.size(1), spec.OutputWidth);
        }
        var projected = givenValues is null ? Linear.ForwardMany(input, query, key, value!) : Linear.ForwardMany(input, query, key);
        return Attend(input.Stream, projected, context, state, givenValues, null);
    }

    /// <summary>Applies the output projection: (batch, length, heads x valueHeadSize) to (batch, length, width).</summary>
    internal Tensor Project(Tensor attended) =>
        Scaled((output ?? throw new InvalidOperationException("this attention has no output projection")).Forward(attended),
            spec.OutputScale);

    /// <summary>Returns (batch, length, heads x valueHeadSize) before the output projection.</summary>
    internal Tensor Attend(Tensor x, SequenceContext context, MixerState? state, Tensor? givenValues = null, AttentionAdapters? adapters = null)
    {
        ModuleChecks.Input(x, inputWidth, context);
        x = Scaled(x, spec.InputScale);
        var projected = givenValues is null ? Linear.ForwardMany(x, query, key, value!) : Linear.ForwardMany(x, query, key);
        return Attend(x, projected, context, state, givenValues, adapters);
    }

    Tensor Attend(Tensor x, Tensor[] projected, SequenceContext context, MixerState? state, Tensor? givenValues, AttentionAdapters? adapters)
    {
        long batch = x.size(0), length = x.size(1);
        var q = Adapted(projected[0], x, adapters?.Query).view(batch, length, spec.Heads, spec.QueryProjectionWidth / spec.Heads);
        Tensor? gate = null;
        if (spec.OutputGate)
        {
            (q, gate) = LastDimension.Split(q, spec.HeadSize, spec.ValueHeadSize);
            gate = gate.flatten(2);
        }
        var k = Scaled(Adapted(projected[1], x, adapters?.Key), spec.KeyScale).view(batch, length, spec.KeyValueHeads, spec.HeadSize);
        var v = (givenValues ?? Adapted(projected[2], x, adapters?.Value)).view(batch, length, spec.KeyValueHeads, spec.ValueHeadSize);
        if (queryNorm is not null) (q, k) = (Normed(queryNorm, q), Normed(keyNorm!, k));
        if (state is not null && context.StepLengths is not null)
            return Gated(Step(q, k, v, context, state).reshape(batch, length, spec.OutputWidth), gate);
        if (spec.Rotary is { } rotary)
        {
            var (cosine, sine) = context.RotaryTable(rotary, spec.HeadSize);
            (q, k) = (Rotary.Forward(q, cosine, sine), Rotary.Forward(k, cosine, sine));
        }
        AttentionPositions? positions;
        switch (state)
        {
            case null: positions = context.FullAttentionPositions(); break;
            case KeyValueState all: (k, v, positions) = all.Append(k, v, context); break;
            case WindowState window: (k, v, positions) = window.Append(k, v, context); break;
            default: throw ModuleChecks.ForeignState(state, "an attention mixer");
        }
        context.Probe?.OnAttention(context, spec, q, k, positions);
        var attended = FusedAttention.Forward(q, k, v, spec.Scale, spec.Window, spec.Sinks, positions).reshape(batch, length, spec.OutputWidth);
        return Gated(attended, gate);
    }

    Tensor Normed(RootMeanSquareNorm norm, Tensor heads) =>
        spec.QkNormAcrossHeads ? norm.Forward(heads.flatten(2)).view(heads.shape) : norm.Forward(heads);

    static Tensor Gated(Tensor attended, Tensor? gate) => gate is null ? attended : attended * gate.sigmoid();

    Tensor Step(Tensor query, Tensor key, Tensor value, SequenceContext context, MixerState state) => state switch
    {
        KeyValueState all => all.Step(query, key, value, spec, context),
        WindowState window => window.Step(query, key, value, spec, context),
        _ => throw ModuleChecks.ForeignState(state, "an attention mixer"),
    };

    // where a projection writes keys and values; null if only separate operators can
    CacheTarget? Target(SequenceContext context, MixerState state) => state switch
    {
        KeyValueState all => all.Target(spec, context),
        WindowState window => window.Target(spec, context),
        _ => null,
    };

    // of turned queries, after the cache was written
    Tensor Step(Tensor query, SequenceContext context, MixerState state) => state switch
    {
        KeyValueState all => all.Attend(query, spec, context),
        WindowState window => window.Attend(query, spec, context),
        _ => throw ModuleChecks.ForeignState(state, "an attention mixer"),
    };

    static Tensor Adapted(Tensor projected, Tensor x, LowRankAdapter? adapter) =>
        adapter is null ? projected : projected.add(adapter.Forward(x), Scalars.One);

    /// <inheritdoc/>
    public override MixerState CreateState(int batch, ScalarType compute, Device device)
    {
        StateChecks.State(batch, compute, device);
        return spec.Window is { } window
            ? new WindowState(batch, window, spec.Sinks, spec.KeyValueHeads, spec.HeadSize, spec.ValueHeadSize, compute, device)
            : new KeyValueState(batch, spec.KeyValueHeads, spec.HeadSize, spec.ValueHeadSize, compute, device);
    }
}
