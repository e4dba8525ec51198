using HybridArchitectures.Design;
using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>
/// Computes Mamba-3 with one input and one output per head (openreview HwCvaJOiCj). With decay a, time step dt and trapezoid weight w of a token,
/// <c>h[t] = a[t] h[t-1] + (1 - w[t]) dt[t] a[t] B[t-1] x[t-1] + w[t] dt[t] B[t] x[t]</c> and <c>y[t] = C[t] h[t] + D x[t]</c>, where B and C are
/// rotated by the sum of the angles of all tokens up to t.
/// </summary>
/// <remarks>
/// The second term writes token t - 1 again when token t arrives. So each token is written once, with the weight w[t] dt[t] + (1 - w[t+1]) dt[t+1],
/// by the recurrence of Mamba-2, and the part of the next token is subtracted from the output of the token itself.
/// </remarks>
public sealed class Mamba3 : Mixer
{
    // a time step of 0 would divide by 0; a decay of exp(-1e-12) is 1
    const double MinDecay = 1e-12;

    readonly Mamba3Spec spec;
    readonly int width;
    readonly double epsilon;
    readonly Linear input, output;

    /// <summary>Contains the tensors of the tokens of a pass.</summary>
    /// <param name="X">The inputs, (B, L, H, P).</param>
    /// <param name="B">The rotated B, (B, L, H, N).</param>
    /// <param name="C">The rotated C, (B, L, H, N).</param>
    /// <param name="Decay">The negative logarithm of the decay, (B, L, H), above 0.</param>
    /// <param name="Written">w dt, (B, L, H).</param>
    /// <param name="Before">(1 - w) dt: the weight of the previous token, (B, L, H).</param>
    /// <param name="Angles">The sums of angles, (B, L, H, angles).</param>
    readonly record struct Tokens(Tensor X, Tensor B, Tensor C, Tensor Decay, Tensor Written, Tensor Before, Tensor Angles);

    /// <summary>Creates a Mamba-3 mixer.</summary>
    public Mamba3(ModuleFactory factory, Mamba3Spec spec) : base(nameof(Mamba3), spec)
    {
        ModuleChecks.Spec(factory, spec);
        (this.spec, width, epsilon) = (spec, factory.Width, spec.SelectionNormEpsilon ?? factory.NormEpsilon);
        int inner = spec.InnerWidth, heads = spec.Heads, states = spec.Groups * spec.StateSize;
        var bias = spec.ProjectionBias ? factory.Bias(spec.ProjectedWidth) : null;
        input = Add("input", new Linear(factory.Projection(spec.ProjectedWidth, width), bias)
        {
            Layout = new([inner, inner, states, states, heads, heads, heads, spec.Angles]),
        });
        AddParameter("dt_bias", StateSpaceInitialisation.TimeStepBias(factory, spec.TimeStepRange, spec.TimeStepFloor, heads), decays: false);
        AddParameter("b_bias", factory.Constant(1, heads, spec.StateSize), decays: false);
        AddParameter("c_bias", factory.Constant(1, heads, spec.StateSize), decays: false);
        AddParameter("b_norm", factory.Constant(1, spec.StateSize), decays: false);
        AddParameter("c_norm", factory.Constant(1, spec.StateSize), decays: false);
        AddParameter("D", factory.Constant(1, heads), decays: false);
        output = Add("output", new Linear(
            factory.Projection(width, inner, intoResidual: true), spec.ProjectionBias ? factory.Bias(width) : null));
        register_buffer("rate", full([heads], Scalars.MinusOne, ScalarType.Float32, factory.Device).DetachFromDisposeScope(), persistent: false);
    }

    /// <inheritdoc/>
    public override Tensor Forward(Tensor x, SequenceContext context, MixerState? state)
    {
        ModuleChecks.Input(x, width, context);
        var own = ModuleChecks.State<Mamba3State>(state, "Mamba-3");
        var projected = input.Forward(x);
        var mixed = own is not null && context.IsStepwise && x.size(1) > 1 ? EachToken(projected, own) : Mix(projected, own, own, context.Layout);
        return output.Forward(mixed);
    }

    static Mamba3State Unset(Mamba3State state) =>
        new(empty_like(state.Scan), empty_like(state.Angles), empty_like(state.LastB), empty_like(state.LastX));

    // each token writes a new state, which is remembered, and the last one the state
    Tensor EachToken(Tensor projected, Mamba3State state)
    {
        var results = new Tensor[projected.size(1)];
        var states = new Mamba3State[results.Length - 1];
        for (int token = 0; token < results.Length; token++)
        {
            if (token < states.Length) states[token] = Unset(state);
            results[token] = Mix(projected.narrow(1, token, 1), token == 0 ? state : states[token - 1], token < states.Length ? states[token] : state,
                null);
        }
        for (int index = 0; index < state.Tensors.Count; index++)
            state.Remember(index, StateReplay.FromStates([.. states.Select(one => one.Tensors[index])]));
        return cat(results, 1);
    }

    // (B, L, projected width) to (B, L, inner width) before the output projection
    Tensor Mix(Tensor projected, Mamba3State? state, Mamba3State? after, SequenceLayout? layout)
    {
        int inner = spec.InnerWidth, states = spec.Groups * spec.StateSize, heads = spec.Heads;
        var parts = projected.split([inner, inner, states, states, heads, heads, heads, spec.Angles], -1);
        var tokens = Prepare(parts, state, layout);
        var (x, b, c) = (tokens.X, tokens.B, tokens.C);
        var next = Next(tokens.Before, layout);
        var weight = (tokens.Written.add(next, Scalars.One) / tokens.Decay).unsqueeze(-1);
        // -1: the logarithm of a decay is the whole rate
        var rate = get_buffer("rate")!.to(tokens.Decay.dtype);
        var (mixed, final) = StateSpaceDual.Forward((x * weight).to(x.dtype), tokens.Decay, rate, b, c, initialState: Initial(tokens, state),
            layout: layout, chunkSize: spec.ChunkSize);
        Keep(after, tokens, final, layout);
        // the rotations of B and C by the same angles do not change their product
        var again = (b * c).sum(-1) * next;
        var skip = Parameter("D", x).sub(again).unsqueeze(-1);
        var y = mixed.add((x * skip).to(x.dtype), Scalars.One).flatten(2);
        return y * Activations.Apply(Activation.Silu, parts[0]);
    }

    Tokens Prepare(Tensor[] parts, Mamba3State? state, SequenceLayout? layout)
    {
        var type = SequenceChecks.StateType(parts[1]);
        Tensor Wide(int part) => WithoutPads(parts[part].to(type), layout);
        var x = WithoutPads(parts[1], layout).view(parts[1].size(0), parts[1].size(1), spec.Heads, spec.HeadSize);
        var step = WithoutPads(Activations.Softplus(Wide(4).add(Parameter("dt_bias", x), Scalars.One)), layout);
        var decay = (Activations.Softplus(Wide(5)).clamp_min(Scalars.From(spec.DecayFloor)) * step).clamp_min(Scalars.From(MinDecay));
        var weight = Wide(6).sigmoid();
        var turns = Wide(7).tanh().mul(Scalars.From(Math.PI)).unsqueeze(2) * step.unsqueeze(-1);               // (B, L, H, angles)
        // sums grow with the length, and float32 would lose their fraction
        var angles = turns.to(ScalarType.Float64).cumsum(1);
        if (state is not null) angles = angles.add(state.Angles.unsqueeze(1), Scalars.One);
        angles = angles.remainder(Scalars.From(2 * Math.PI)).to(type);
        var (cosine, sine) = (angles.cos(), angles.sin());
        var written = weight * step;
        var (b, c) = (Rotated(Wide(2), "b", cosine, sine).to(x.dtype), Rotated(Wide(3), "c", cosine, sine).to(x.dtype));
        return new(x, b, c, decay, written, step - written, angles);
    }

    // norms, spreads over the heads, adds the bias, and rotates pairs of neighbours: (B, L, groups x N) to (B, L, H, N)
    Tensor Rotated(Tensor selection, string name, Tensor cosine, Tensor sine)
    {
        var grouped = selection.view(selection.size(0), selection.size(1), spec.Groups, spec.StateSize);
        var heads = RmsNorm.Forward(grouped, Parameter($"{name}_norm", selection), epsilon).repeat_interleave(spec.Heads / spec.Groups, 2)
            .add(Parameter($"{name}_bias", selection), Scalars.One);
        long turned = 2L * spec.Angles;
        var pairs = heads.narrow(-1, 0, turned).unflatten(3, spec.Angles, 2);
        var (first, second) = (pairs.select(-1, 0), pairs.select(-1, 1));
        var rotated = stack([first * cosine - second * sine, (first * sine).add(second * cosine, Scalars.One)], -1).flatten(-2, -1);
        return turned == spec.StateSize ? rotated : cat([rotated, heads.narrow(-1, turned, spec.StateSize - turned)], -1);
    }

    static Tensor WithoutPads(Tensor tensor, SequenceLayout? layout) =>
        layout?.Valid is { } valid ? tensor.masked_fill(valid.logical_not().unsqueeze(-1), Scalars.Zero) : tensor;

    // the weight that the next token gives to a token: 0 for the last one of a document; (B, L, H)
    static Tensor Next(Tensor before, SequenceLayout? layout)
    {
        if (layout?.Starts is { } starts) before = before.masked_fill(starts.unsqueeze(-1), Scalars.Zero);
        return cat([before.narrow(1, 1, before.size(1) - 1), zeros_like(before.narrow(1, 0, 1))], 1);
    }

    // the first token of a pass also weights the last one before it; a row without tokens has a weight of 0
    static Tensor? Initial(Tokens tokens, Mamba3State? state)
    {
        if (state is null) return null;
        var before = tokens.Before.select(1, 0).unsqueeze(-1).unsqueeze(-1);
        return state.Scan.add(state.LastX.unsqueeze(-1) * state.LastB.unsqueeze(-2) * before, Scalars.One);
    }

    static void Keep(Mamba3State? state, Tokens tokens, Tensor final, SequenceLayout? layout)
    {
        if (state is null) return;
        state.Scan.copy_(final);
        state.Angles.copy_(tokens.Angles.select(1, tokens.Angles.size(1) - 1));
        KeepLast(state.LastB, tokens.B, layout);
        KeepLast(state.LastX, tokens.X, layout);
    }

    // the last token of each row; a row without tokens keeps what it has
    static void KeepLast(Tensor target, Tensor values, SequenceLayout? layout)
    {
        if (layout?.Lengths is not { } lengths)
        {
            target.copy_(values.select(1, values.size(1) - 1));
            return;
        }
        var index = lengths.sub(Scalars.One).clamp_min(Scalars.Zero).view(-1, 1, 1, 1).expand(values.size(0), 1, values.size(2), values.size(3));
        var last = values.gather(1, index).squeeze(1).to(target.dtype);
        target.copy_(where(lengths.gt(Scalars.Zero).view(-1, 1, 1), last, target));
    }

    /// <inheritdoc/>
    public override MixerState CreateState(int batch, ScalarType compute, Device device)
    {
        StateChecks.State(batch, compute, device);
        Tensor Empty(params long[] shape) => zeros([batch, spec.Heads, .. shape], SequenceChecks.StateType(compute), device);
        return new Mamba3State(Empty(spec.HeadSize, spec.StateSize), Empty(spec.Angles), Empty(spec.StateSize), Empty(spec.HeadSize));
    }
}
