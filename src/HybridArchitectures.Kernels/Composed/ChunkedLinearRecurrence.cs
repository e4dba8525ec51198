using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Composed;

/// <summary>
/// Computes the linear recurrence with libtorch's operators, for any device and dtype. A row of L tokens is divided into about sqrt(L) chunks. All
/// chunks advance together, token by token, from a zero state; the states at the starts of the chunks follow one after another; then each chunk adds
/// what remains of the state before it. This needs about 2 sqrt(L) operators in place of L, without a quotient that could overflow. The gradient is
/// the same recurrence from the last token to the first. The arguments are those of <see cref="Operators.LinearRecurrence.Forward"/>.
/// </summary>
static class ChunkedLinearRecurrence
{
    /// <summary>Contains what the gradient needs.</summary>
    /// <param name="Decays">The multiplier of the state before each token, (B, L, D): 0 where a document starts, 1 at padding.</param>
    /// <param name="Before">The state before each token, (B, L, D).</param>
    /// <param name="Pads">Where a row has padding, (B, L, 1), bool, or null.</param>
    /// <param name="XType">An empty tensor of the dtype of x.</param>
    /// <param name="DecayType">An empty tensor of the dtype of the decay.</param>
    sealed record Saved(Tensor Decays, Tensor Before, Tensor? Pads, Tensor XType, Tensor DecayType) : ISavedTensors<Saved>
    {
        public Saved Map(Func<Tensor?, Tensor?> replace) =>
            new(replace(Decays)!, replace(Before)!, replace(Pads), replace(XType)!, replace(DecayType)!);
    }

    public static (Tensor Output, Tensor FinalState) Forward(LinearRecurrenceInputs inputs)
    {
        var results = Autograd.Apply<Saved>([inputs.X, inputs.Decay, inputs.InitialState], _ =>
        {
            var (x, layout) = (inputs.X, inputs.Layout);
            var type = SequenceChecks.StateType(x);
            var written = SequenceMasks.WithoutPads(x.to(type), layout);
            var decays = SequenceMasks.WithoutPads(inputs.Decay.to(type), layout).exp();
            if (layout?.Starts is { } starts) decays = decays.masked_fill(starts.unsqueeze(-1), Scalars.Zero);
            var initial = inputs.InitialState?.to(type) ?? zeros([x.size(0), x.size(2)], type, x.device);
            var states = Scan(decays, written, initial);
            long length = x.size(1);
            var final = states.select(1, length - 1).clone();
            var before = cat([initial.unsqueeze(1), states.narrow(1, 0, length - 1)], 1);
            var pads = layout?.Valid?.logical_not().unsqueeze(-1);
            var output = (pads is null ? states : states.masked_fill(pads, Scalars.Zero)).to(x.dtype);
            return ([output, final], new Saved(decays, before, pads, empty([0], x.dtype), empty([0], inputs.Decay.dtype)));
        }, Backward);
        return (results[0], results[1]);
    }

    static Tensor?[] Backward(BackwardContext context, Saved saved)
    {
        var decays = saved.Decays;
        long length = decays.size(1);
        var outputs = context.Gradients[0]?.to(decays.dtype) ?? zeros_like(decays);
        if (saved.Pads is not null) outputs = outputs.masked_fill(saved.Pads, Scalars.Zero);
        var final = context.Gradients[1] ?? zeros_like(decays.select(1, 0));
        // the gradient of the state after token t is that of its output plus what reaches the state after token t + 1, times its decay
        var next = cat([decays.narrow(1, 1, length - 1), ones_like(decays.narrow(1, 0, 1))], 1);
        var states = Scan(next.flip(1), outputs.flip(1), final).flip(1);
        var dX = saved.Pads is null ? states : states.masked_fill(saved.Pads, Scalars.Zero);
        var dDecay = context.Needs(1) ? (dX * decays * saved.Before).to(saved.DecayType.dtype) : null;
        var dInitial = context.Needs(2) ? states.select(1, 0) * decays.select(1, 0) : null;
        return [context.Needs(0) ? dX.to(saved.XType.dtype) : null, dDecay, dInitial];
    }

    // state[t] = decays[t] state[t - 1] + written[t], all (B, L, D)
    static Tensor Scan(Tensor decays, Tensor written, Tensor initial)
    {
        using var scope = NewDisposeScope();
        long batch = written.size(0), length = written.size(1), channels = written.size(2);
        long size = (long)Math.Ceiling(Math.Sqrt(length)), chunks = (length + size - 1) / size, missing = chunks * size - length;
        Tensor Chunked(Tensor tensor, Func<long[], Tensor> rest) =>
            (missing == 0 ? tensor : cat([tensor, rest([batch, missing, channels])], 1)).reshape(batch, chunks, size, channels);
        decays = Chunked(decays, shape => ones(shape, written.dtype, written.device));
        written = Chunked(written, shape => zeros(shape, written.dtype, written.device));
        var states = new Tensor[size];
        states[0] = written.select(2, 0);
        for (int token = 1; token < size; token++)
            states[token] = written.select(2, token).addcmul(decays.select(2, token), states[token - 1], Scalars.One);
        var remaining = decays.cumprod(2);                                                       // (B, C, Q, D)
        var starts = new Tensor[chunks];
        starts[0] = initial;
        for (int chunk = 1; chunk < chunks; chunk++)
            starts[chunk] = states[size - 1].select(1, chunk - 1).addcmul(
                remaining.select(1, chunk - 1).select(1, size - 1), starts[chunk - 1], Scalars.One);
        var all = stack(states, 2).addcmul(remaining, stack(starts, 1).unsqueeze(2), Scalars.One);
        return all.reshape(batch, chunks * size, channels).narrow(1, 0, length).contiguous().MoveToOuterDisposeScope();
    }
}
