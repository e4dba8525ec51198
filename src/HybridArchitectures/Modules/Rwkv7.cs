using HybridArchitectures.Design;
using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Sequence;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>
/// Computes the time mixing of RWKV-7 (arXiv 2503.14456), in these steps:
/// <list type="number">
/// <item>Each of six inputs (query, decay, key, value, rate, gate) is <c>x[t] + mix * (x[t-1] - x[t])</c>, with a mix per channel.</item>
/// <item>The decays are <c>exp(-exp(-0.5) sigmoid(d))</c> and the rates <c>a = sigmoid(r)</c>, with d and r through a low rank.</item>
/// <item>Removals are the scaled keys, normalized to length 1 per head: <c>k / sqrt(sum k^2 + epsilon)</c>. The added key is
/// <c>key * (1 + (a - 1) * replacement_scale)</c>.</item>
/// <item>With <see cref="Rwkv7Spec.ValueRank"/>, the share <c>sigmoid(s)</c> of each value is replaced by that of the first layer.</item>
/// <item><see cref="GeneralizedDeltaRule"/> mixes the tokens. A LayerNorm per head follows.</item>
/// <item>The current value times <c>sum(query * key * bonus_scale)</c> of the head is added. The sum is multiplied by the gate and projected.</item>
/// </list>
/// </summary>
public sealed class Rwkv7 : Mixer
{
    const string Mix = "mix", DecayBias = "decay_bias", RateBias = "rate_bias", RemovalScale = "removal_scale", BonusScale = "bonus_scale";
    const string ReplacementScale = "replacement_scale", ValueBias = "value_bias", NormWeight = "norm_weight", NormBias = "norm_bias";

    // -exp(-0.5), the minimum of the logarithm of a decay
    static readonly double minDecay = -Math.Exp(-0.5);

    readonly Rwkv7Spec spec;
    readonly int width;
    readonly double normEpsilon;
    readonly Linear? valueDown, valueUp;
    readonly Linear query, key, value, decayDown, decayUp, rateDown, rateUp, gateDown, gateUp, output;

    // the rows of the mix, in this order
    readonly record struct Inputs(Tensor Query, Tensor Decay, Tensor Key, Tensor Value, Tensor Rate, Tensor Gate);

    /// <summary>Creates a layer of RWKV-7.</summary>
    public Rwkv7(ModuleFactory factory, Rwkv7Spec spec) : base(nameof(Rwkv7), spec)
    {
        ModuleChecks.Spec(factory, spec);
        (this.spec, width, normEpsilon) = (spec, factory.Width, spec.HeadNormEpsilon);
        Linear Project(string name, int outputs, int inputs) => Add(name, new Linear(factory.Projection(outputs, inputs)));
        query = Project("query", spec.InnerWidth, width);
        key = Project("key", spec.InnerWidth, width);
        value = Project("value", spec.InnerWidth, width);
        decayDown = Project("decay_down", spec.DecayRank, width);
        decayUp = Project("decay_up", spec.InnerWidth, spec.DecayRank);
        rateDown = Project("rate_down", spec.RateRank, width);
        rateUp = Project("rate_up", spec.InnerWidth, spec.RateRank);
        gateDown = Project("gate_down", spec.GateRank, width);
        gateUp = Project("gate_up", spec.InnerWidth, spec.GateRank);
        HandsOnValues = factory.Position > 0 && FirstValues.Source(factory.Design.Blocks) == factory.Position - 1;
        if (spec.ValueRank is { } rank)
        {
            valueDown = Project("value_down", rank, width);
            valueUp = Project("value_up", spec.InnerWidth, rank);
        }
        AddVectors(factory, new Rwkv7Initialisation(spec, width, factory.Position, factory.Design.Depth));
        output = Add("output", new Linear(factory.Projection(width, spec.InnerWidth, intoResidual: true)));
    }

    void AddVectors(ModuleFactory factory, Rwkv7Initialisation initial)
    {
        Parameter From(float[] values) => factory.From(() => tensor(values));
        AddParameter(Mix, factory.From(() => tensor(initial.Mixes()).view(6, width)), decays: false);
        AddParameter(DecayBias, From(initial.DecayBias()), decays: false);
        AddParameter(RateBias, From(initial.RateBias()), decays: false);
        if (ReadsFirstValues) AddParameter(ValueBias, From(initial.ValueBias()), decays: false);
        AddParameter(RemovalScale, From(initial.RemovalScale()), decays: false);
        AddParameter(ReplacementScale, factory.Constant(1.02, spec.InnerWidth), decays: false);
        AddParameter(BonusScale, factory.Constant(-0.04, spec.InnerWidth), decays: false);
        AddParameter(NormWeight, factory.Constant(initial.NormWeight, spec.InnerWidth), decays: false);
        AddParameter(NormBias, factory.Constant(0, spec.InnerWidth), decays: false);
    }

    /// <summary>Gets whether later layers read the values of this one.</summary>
    internal bool HandsOnValues { get; }

    /// <summary>Gets whether the layer reads the values of the first one.</summary>
    internal bool ReadsFirstValues => spec.ValueRank is not null;

    /// <inheritdoc/>
    public override Tensor Forward(Tensor x, SequenceContext context, MixerState? state)
    {
        ModuleChecks.Input(x, width, context);
        var recurrent = ModuleChecks.State<RecurrentState>(state, "RWKV-7");
        var type = recurrent?.Scan.dtype ?? SequenceChecks.StateType(x);
        var inputs = Shifted(x, recurrent, context);
        var decays = Biased(decayUp.Forward(decayDown.Forward(inputs.Decay).tanh()), DecayBias, x).sigmoid().mul(Scalars.From(minDecay));
        var rates = Biased(rateUp.Forward(rateDown.Forward(inputs.Rate)), RateBias, x).sigmoid();
        var (queries, raw, values) = (query.Forward(inputs.Query), key.Forward(inputs.Key).to(type), Heads(Values(inputs.Value, x, context)));
        var removals = UnitHeads.Forward(raw * Parameter(RemovalScale, x), spec.Heads, spec.HeadSize, 1, spec.RemovalEpsilon);
        var keys = raw.add(raw * rates.sub(Scalars.One) * Parameter(ReplacementScale, x), Scalars.One);
        var mixed = MixTokens(Heads(queries), Heads(keys), values, Heads(decays), removals, Heads(rates), recurrent, context);
        var normed = Normed(mixed.to(type), x);
        var bonus = Heads(queries * keys * Parameter(BonusScale, x)).sum(-1, keepdim: true) * values;
        var gated = normed.add(bonus.flatten(2), Scalars.One) * gateUp.Forward(gateDown.Forward(inputs.Gate).sigmoid());
        return output.Forward(gated.to(x.dtype));
    }

    // the type of states is that of the biases
    Tensor Biased(Tensor projected, string bias, Tensor x)
    {
        var added = Parameter(bias, x);
        return projected.to(added.dtype).add(added, Scalars.One);
    }

    // (B, L, H P), with a share of the values of the first layer
    Tensor Values(Tensor input, Tensor x, SequenceContext context)
    {
        var values = value.Forward(input);
        if (valueDown is not null)
        {
            var first = context.FirstValues ?? throw new InvalidOperationException(
                "the pass has no values of an earlier layer of RWKV-7; expected that the first one is computed in the same pass.");
            var shares = Biased(valueUp!.Forward(valueDown.Forward(input)), ValueBias, x).sigmoid();
            values = values.lerp(first, shares.to(values.dtype));
        }
        if (HandsOnValues) context.HandOnValues(values);
        return values;
    }

    Tensor Heads(Tensor tensor) => tensor.view(tensor.size(0), tensor.size(1), spec.Heads, spec.HeadSize);

    Inputs Shifted(Tensor x, RecurrentState? state, SequenceContext context)
    {
        var previous = TokenShift.Previous(x, Derived(Mix, x, TokenShift.Taps), state, context);
        var mixes = Parameter(Mix, x).to(x.dtype).view(6, 1, 1, width);
        var all = x.add((previous - x) * mixes, Scalars.One).unbind(0);                                      // each (B, L, width)
        return new(all[0], all[1], all[2], all[3], all[4], all[5]);
    }

    Tensor MixTokens(Tensor queries, Tensor keys, Tensor values, Tensor decays, Tensor removals, Tensor rates, RecurrentState? state,
        SequenceContext context)
    {
        long length = queries.size(1);
        if (context.IsDecoding(state, length))
            return state.Decode(length, 1, () => GeneralizedDeltaRule.Step(state.Scan, queries.select(1, 0), keys.select(1, 0), values.select(1, 0),
                decays.select(1, 0), removals.select(1, 0), rates.select(1, 0)),
                () => GeneralizedDeltaRule.Steps(state.Scan, new(queries, keys, values, decays, removals, rates)));
        var (mixed, final) = GeneralizedDeltaRule.Forward(queries, keys, values, decays, removals, rates, state?.Scan, context.Layout,
            spec.ChunkSize, minDecay);
        state?.Scan.copy_(final);
        return mixed;
    }

    // (B, L, H, P) to (B, L, H P)
    Tensor Normed(Tensor mixed, Tensor x)
    {
        var normed = nn.functional.layer_norm(mixed, [spec.HeadSize], null, null, normEpsilon).flatten(2);
        return (normed * Parameter(NormWeight, x)).add(Parameter(NormBias, x), Scalars.One);
    }

    /// <inheritdoc/>
    public override MixerState CreateState(int batch, ScalarType compute, Device device)
    {
        StateChecks.State(batch, compute, device);
        return new RecurrentState(zeros([batch, 1, width], compute, device),
            zeros([batch, spec.Heads, spec.HeadSize, spec.HeadSize], SequenceChecks.StateType(compute), device));
    }
}
