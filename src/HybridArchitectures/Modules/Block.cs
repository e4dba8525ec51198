using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>
/// Represents one layer: x + s mixer(norm(x)), then x + s feedForward(norm(x)), where s is the residual scale. Either part can be absent. If the
/// block uses a shared transformer, its output is added to the input of the mixer: x + s mixer(norm(x + shared(x))). With
/// <see cref="NormPlacement.After"/>, the layer is x + s norm(mixer(x)), then x + s norm(feedForward(x)). With <see cref="NormPlacement.Stream"/>, it
/// is x + s mixer(x) of x = norm(x), then the same with the feed-forward. <see cref="BlockSpec.Scales"/> also multiplies the first term.
/// </summary>
public sealed class Block : HybridModule
{
    readonly NormPlacement norms;
    readonly ResidualScales scales;
    readonly int width;
    readonly Norm? mixerNorm, feedForwardNorm;
    readonly SharedTransformerAdapter? shared;
    readonly bool isCustom, hasState;

    /// <summary>Creates a block.</summary>
    /// <param name="factory">Creates the parameters.</param>
    /// <param name="spec">The block.</param>
    /// <param name="transformers">The transformers that blocks share. The default is none.</param>
    public Block(ModuleFactory factory, BlockSpec spec, IReadOnlyList<SharedTransformer>? transformers = null) : base(nameof(Block))
    {
        ArgumentNullException.ThrowIfNull(factory);
        ArgumentNullException.ThrowIfNull(spec);
        if (transformers is not null) Require.Items(transformers);
        width = factory.Width;
        norms = spec.Norms;
        scales = spec.Scales ?? new(1, spec.ResidualScale, 1, spec.ResidualScale);
        if (spec.Shared is { } use)
        {
            if (transformers is null || use.Transformer >= transformers.Count)
                throw Require.Unfit(nameof(transformers),
                $"transformers has {transformers?.Count ?? 0} entries",
                $"at least {use.Transformer + 1}, because the block uses number {use.Transformer}");
            shared = Add("shared", new SharedTransformerAdapter(factory, use, transformers[use.Transformer]));
        }
        if (spec.Mixer is not null)
        {
            ModuleChecks.Spec(factory, spec.Mixer);
            mixerNorm = Add("mixer_norm", Norm.Create(factory, spec.NormEpsilon));
            Mixer = Add("mixer", ModuleCatalogue.CreateMixer(factory, spec.Mixer));
            isCustom = spec.Mixer is { IsCustom: true };
        }
        if (ModuleCatalogue.CreateFeedForward(factory, spec.FeedForward) is { } feedForward)
        {
            feedForwardNorm = Add("feed_forward_norm", Norm.Create(factory, spec.NormEpsilon));
            FeedForward = Add("feed_forward", feedForward);
            hasState = spec.FeedForward.CountState(width) > 0;
        }
    }

    /// <summary>Gets whether the block reads the input of the first block in addition to the residual stream.</summary>
    internal bool ReadsEmbedding => shared is { Transformer.Spec.ReadsEmbedding: true };

    /// <summary>Gets whether the mixer hands its values to later blocks.</summary>
    internal bool HandsOnValues => Mixer is Rwkv7 { HandsOnValues: true };

    /// <summary>Gets whether the mixer reads the values of an earlier block.</summary>
    internal bool ReadsFirstValues => Mixer is Rwkv7 { ReadsFirstValues: true };

    /// <summary>Gets the mixer, or null.</summary>
    public Mixer? Mixer { get; }

    /// <summary>Gets the feed-forward, or null.</summary>
    public FeedForward? FeedForward { get; }

    /// <summary>Gets the parameters of the block, including shared ones.</summary>
    internal IEnumerable<TorchSharp.Modules.Parameter> UsedParameters =>
        AllParameters().Concat(shared?.Transformer.AllParameters() ?? []).Select(item => item.Value);

    /// <summary>Gets the dropout of the adapters in this block and in the transformer that it shares.</summary>
    internal IEnumerable<LoraDropout> Dropouts => AllModules().Concat(shared?.Transformer.AllModules() ?? [])
        .OfType<LoraWeight>().Select(weight => weight.Dropout).Where(dropout => dropout.IsActive);

    /// <summary>Computes (batch, length, width) from the same shape.</summary>
    public Tensor Forward(Tensor x, SequenceContext context, MixerState? state)
    {
        RequireAlive();
        ModuleChecks.Input(x, width, context);
        using var scope = NewDisposeScope();
        var stream = x;
        var (own, after) = Divide(state);
        if (Mixer is not null)
        {
            Tensor? entering = null;
            if (shared is not null)
            {
                var both = ModuleChecks.State<CombinedState>(own, "a block with a shared transformer");
                entering = stream.add(shared.Forward(stream, context, both?.Attention), Scalars.One);
                own = both?.StateSpace;
            }
            if (SumsWithNorm)
            {
                // the norm of the feed-forward computes the sum in the same pass
                var mixed = OfNormed(mixerNorm!, entering ?? stream, x => Mix(x, context, own));
                (var normed, stream) = feedForwardNorm!.ForwardSum(mixed, stream);
                using var offer = feedForwardNorm.Offer(normed, stream);
                stream = Sum(stream, Feed(normed, context, after), scales.FeedForwardStream, scales.FeedForwardOutput);
                return stream.MoveToOuterDisposeScope();
            }
            stream = Half(stream, entering, mixerNorm!, x => Mix(x, context, own), scales.MixerStream, scales.MixerOutput);
        }
        if (FeedForward is not null)
            stream = Half(stream, null, feedForwardNorm!, x => Feed(x, context, after), scales.FeedForwardStream,
                scales.FeedForwardOutput);
        return ReferenceEquals(stream, x) ? x : stream.MoveToOuterDisposeScope();
    }

    // the states of the mixer and of the feed-forward
    (MixerState? Mixer, MixerState? FeedForward) Divide(MixerState? state) => !hasState ? (state, null)
        : Mixer is null ? (null, state)
        : ModuleChecks.State<BlockState>(state, "a block whose feed-forward has a state") is { } both ? (both.Mixer, both.FeedForward) : (null, null);

    // only the sum at the end of the block reads the result, if no norm follows; its gradient needs no values
    Tensor Feed(Tensor x, SequenceContext context, MixerState? state) => context.IsRecomputation && norms != NormPlacement.After
        ? FeedForward!.ForwardAgain(x, context) : FeedForward!.Forward(x, context, state);

    // a half of the block; entering, if given, is normed instead of the stream
    Tensor Half(Tensor stream, Tensor? entering, Norm norm, Func<Tensor, Tensor> half, double streamScale, double outputScale)
    {
        if (norms == NormPlacement.Stream) stream = norm.Forward(stream);
        var output = norms switch
        {
            NormPlacement.Before => OfNormed(norm, entering ?? stream, half),
            NormPlacement.After => norm.Forward(half(entering ?? stream)),
            _ => half(stream),
        };
        return Sum(stream, output, streamScale, outputScale);
    }

    // projections of the normed value do not save it
    static Tensor OfNormed(Norm norm, Tensor x, Func<Tensor, Tensor> half)
    {
        var normed = norm.Forward(x);
        using var offer = norm.Offer(normed, x);
        return half(normed);
    }

    static Tensor Sum(Tensor stream, Tensor output, double streamScale, double outputScale) =>
        Scaled(stream, streamScale).add(output, outputScale == 1 ? Scalars.One : Scalars.From(outputScale));

    bool SumsWithNorm => norms == NormPlacement.Before && scales is { MixerStream: 1, MixerOutput: 1 } && Mixer is not null
        && FeedForward is not null;

    /// <summary>
    /// Gets whether <see cref="Step"/> can be used: the sums of the block are plain, so that each can be computed together with the norm that follows
    /// it.
    /// </summary>
    internal bool HasPlainSums => norms == NormPlacement.Before && scales == new ResidualScales(1, 1, 1, 1) && shared is null && !isCustom
        && (Mixer is not null || FeedForward is not null);

    /// <summary>
    /// Computes the block in a decoding step without a gradient. It takes the residual stream and the value that is still to be added to it, and
    /// returns both. The norm that follows a sum computes it, in one pass on a GPU. Products of a few rows compute norm and sum themselves, on a GPU
    /// in bfloat16 and on the CPU in float32.
    /// </summary>
    internal (Tensor Stream, Tensor? Added) Step(Tensor stream, Tensor? added, SequenceContext context, MixerState? state)
    {
        RequireAlive();
        using var scope = NewDisposeScope();
        var given = stream;
        var (own, after) = Divide(state);
        bool fuses = context.Probe is null && FewRowsLinear.Fuses(stream);
        StepInput Input(Norm norm)
        {
            if (added is null) return new(stream, norm);
            (var normed, stream) = norm.ForwardSum(stream, added);
            return new(stream, norm, normed);
        }
        if (Mixer is not null)
        {
            var input = Input(mixerNorm!);
            if (fuses && own is not null && Mixer.StepSum(input, context, own) is { } sum) (stream, added) = (sum, null);
            else added = Mix(input.Normed, context, own);
        }
        if (FeedForward is not null)
        {
            var input = Input(feedForwardNorm!);
            if (fuses && FeedForward.StepSum(input, context) is { } sum) (stream, added) = (sum, null);
            else added = FeedForward.Forward(input.Normed, context, after);
        }
        if (!ReferenceEquals(stream, given)) stream.MoveToOuterDisposeScope();
        return (stream, added?.MoveToOuterDisposeScope());
    }

    Tensor Mix(Tensor x, SequenceContext context, MixerState? state) =>
        context.AroundMixer is { } around ? around(context, x, input => MixItself(input, context, state)) : MixItself(x, context, state);

    // a custom mixer may store tensors in its state that it has just created: the state owns them, not the dispose scope around the pass
    Tensor MixItself(Tensor x, SequenceContext context, MixerState? state)
    {
        if (!isCustom) return Mixer!.Forward(x, context, state);
        if (state is null) return CustomMixing.Forward(Mixer!, x, context, state);
        var before = state.Tensors;
        var result = CustomMixing.Forward(Mixer!, x, context, state);
        CustomMixing.RequireDevice(Mixer!, nameof(Mixer.Forward), state, x.device);
        var after = state.TakeOwnership().Tensors;
        foreach (var tensor in before)
            if (!after.Any(item => ReferenceEquals(item, tensor)) && !ReferenceEquals(tensor, result)) tensor.Dispose();
        return result;
    }

    /// <summary>
    /// Creates an empty state of the mixer, of the shared transformer before it, and of the feed-forward; null if none has a state.
    /// </summary>
    internal MixerState? CreateState(int batch, ScalarType compute, Device device)
    {
        RequireAlive();
        var before = CreateMixerState(batch, compute, device);
        if (!hasState) return before;
        var after = FeedForward!.CreateState(batch, compute, device)!;
        return before is null ? after : new BlockState(before, after);
    }

    MixerState? CreateMixerState(int batch, ScalarType compute, Device device)
    {
        var own = Mixer?.CreateState(batch, compute, device);
        if (isCustom) CustomMixing.RequireDevice(Mixer!, nameof(CreateState), own, device).TakeOwnership();
        return shared is null || own is null ? own : new CombinedState(shared.Transformer.CreateState(batch, compute, device), own);
    }
}
