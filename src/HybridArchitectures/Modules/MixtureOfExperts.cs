using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Sequence;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>
/// Computes a mixture of experts: a router sends every token to its best experts (token choice, without dropping), and shared experts process every
/// token. The load is balanced by a selection bias without a loss (arXiv 2408.15664), by the auxiliary loss of arXiv 2101.03961, or not at all.
/// </summary>
public sealed class MixtureOfExperts : FeedForward
{
    readonly MixtureOfExpertsSpec spec;
    readonly Linear router;
    readonly Linear? intoLatent, outOfLatent;
    readonly FeedForward? shared;
    readonly Linear? sharedGate;

    /// <summary>Creates a mixture of experts.</summary>
    public MixtureOfExperts(ModuleFactory factory, MixtureOfExpertsSpec spec) : base(nameof(MixtureOfExperts))
    {
        ModuleChecks.Spec(factory, spec);
        this.spec = spec;
        int experts = spec.Experts, inner = spec.ExpertWidth, width = spec.LatentWidth == 0 ? factory.Width : spec.LatentWidth;
        // routers are computed in float32; with rounding, other experts would be selected
        router = Add("router", new Linear(factory.Normal(factory.Design.Initialisation.StandardDeviation, experts, factory.Width)));
        if (spec.LatentWidth != 0)
        {
            intoLatent = Add("into_latent", new Linear(factory.Projection(width, factory.Width), Bias(factory, width)));
            outOfLatent = Add("out_of_latent",
                new Linear(factory.Projection(factory.Width, width, intoResidual: true), Bias(factory, factory.Width)));
        }
        if (spec.Gated) AddParameter("gate", factory.Weight(factory.Design.Initialisation.StandardDeviation, experts, inner, width), decays: true);
        AddParameter("up", factory.Weight(factory.Design.Initialisation.StandardDeviation, experts, inner, width), decays: true);
        AddParameter("down", factory.Weight(factory.ResidualDeviation, experts, width, inner), decays: true);
        if (spec.SharedWidth > 0) shared = Add<FeedForward>("shared", spec.Gated
            ? new SwiGluFeedForward(factory, new SwiGluSpec(spec.SharedWidth) { Activation = spec.Activation, Bias = spec.DenseBias })
            : new MlpFeedForward(factory, new MlpSpec(spec.SharedWidth) { Activation = spec.Activation, Bias = spec.DenseBias }));
        if (spec.SharedGate) sharedGate = Add("shared_gate", new Linear(factory.Projection(1, factory.Width)));
        if (spec.Balance == ExpertBalance.BiasUpdate)
        {
            register_buffer("selection_bias", zeros([experts], ScalarType.Float32, factory.Device).DetachFromDisposeScope());
            register_buffer("load", zeros([experts], ScalarType.Float32, factory.Device).DetachFromDisposeScope(), persistent: false);
        }
    }

    TorchSharp.Modules.Parameter? Bias(ModuleFactory factory, int outputs) => spec.DenseBias ? factory.Bias(outputs) : null;

    /// <inheritdoc/>
    public override Tensor Forward(Tensor x, SequenceContext context, MixerState? state = null)
    {
        Checks.Shape(x, [-1, -1, router.Weight.size(1)], "(batch, length, width)");
        Checks.Floating(x);
        ArgumentNullException.ThrowIfNull(context);
        long batch = x.size(0), length = x.size(1), width = x.size(2);
        var tokens = x.reshape(batch * length, width);
        if (RouteStep(tokens, context) is { } step) return step.view(batch, length, width);
        var logits = router.ForwardOf(new WidenedInput(tokens));                                // (T, E), float32
        var scores = spec.Score == RouterScore.Sigmoid ? logits.sigmoid() : logits.softmax(-1);
        var (chosen, weights) = Choose(scores);                                                 // (T, k) each
        context.Record(logits, chosen);
        var visits = SelectsFew(tokens) ? null : ExpertVisits.Sort(chosen, spec.Experts);
        if (is_grad_enabled()) Account(logits, scores, chosen, visits!, context);
        var inputs = intoLatent is null ? tokens : intoLatent.Forward(tokens);
        var routed = visits is null ? RouteFew(inputs, chosen, weights.to(x.dtype)) : Route(inputs, visits, weights.to(x.dtype));
        if (outOfLatent is not null) routed = outOfLatent.Forward(routed);
        if (shared is not null)
        {
            var common = shared.Forward(tokens, context);
            routed = routed.add(sharedGate is null ? common : common * sharedGate.Forward(tokens).sigmoid(), Scalars.One);
        }
        return routed.view(batch, length, width);
    }

    // a decoding step on a GPU: router and sum in one launch each; null if another way is needed
    Tensor? RouteStep(Tensor tokens, SequenceContext context)
    {
        if (is_grad_enabled() || context.KeepsRouting || spec.RoutingGroups > 1 || intoLatent is not null || !IsFew(tokens) || !IsPlain) return null;
        if (!FewRowsLinear.Fuses(tokens) || !ExpertRoutingCuda.Serves(tokens, router.Weight)) return null;
        if (router.Adapter("weight") is { IsMerged: false }) return null;
        var (chosen, weights) = ExpertRoutingCuda.Route(tokens, router.Weight, get_buffer("selection_bias"), spec.ExpertsPerToken,
            spec.Score == RouterScore.Sigmoid, spec.Renormalize, spec.Scale);
        var outputs = EachExpert(tokens, chosen, weights);
        Tensor? common = shared?.Forward(tokens, context);
        if (common is not null && sharedGate is not null) common *= sharedGate.Forward(tokens).sigmoid();
        return ExpertRoutingCuda.Mix(outputs, spec.ScoreBeforeExperts ? null : weights, common, spec.ExpertsPerToken);
    }

    /// <inheritdoc/>
    protected internal override IReadOnlyList<string> ProjectionWeights => spec.Gated ? ["gate", "up", "down"] : ["up", "down"];

    (Tensor Chosen, Tensor Weights) Choose(Tensor scores)
    {
        Tensor chosen;
        using (no_grad())
        {
            var ranking = get_buffer("selection_bias") is { } bias ? scores.add(bias, Scalars.One) : scores;
            if (spec.RoutingGroups > 1) ranking = InBestGroups(ranking);
            chosen = ranking.topk(spec.ExpertsPerToken, -1).indexes;
        }
        var weights = scores.gather(-1, chosen);
        if (spec.Renormalize) weights = weights / weights.sum(-1, keepdim: true).add(Scalars.From(1e-20), Scalars.One);
        return (chosen, spec.Scale == 1 ? weights : weights.mul(Scalars.From(spec.Scale)));
    }

    /// <summary>
    /// Returns minus infinity for experts outside the best groups of a token. None of them is selected then, even if all scores of the best groups
    /// are negative.
    /// </summary>
    Tensor InBestGroups(Tensor ranking)
    {
        int size = spec.Experts / spec.RoutingGroups;
        var groups = ranking.view(-1, spec.RoutingGroups, size);
        var worth = groups.topk(Math.Min(2, size), -1).values.sum(-1);
        var kept = zeros_like(worth).scatter(1, worth.topk(spec.GroupsPerToken, -1).indexes, ones_like(worth));
        return groups.masked_fill(kept.unsqueeze(-1).eq(Scalars.Zero), Scalars.MinusInfinity).view(-1, spec.Experts);
    }

    /// <summary>
    /// Sends every token to its experts: tokens are sorted by expert, computed by one grouped product per projection, and restored to their order.
    /// Nothing waits for the device.
    /// </summary>
    Tensor Route(Tensor tokens, ExpertVisits visits, Tensor weights)
    {
        if (tokens.size(0) == 0) return zeros_like(tokens);
        var rows = visits.Rows;
        // (T k, width), expert by expert
        var output = VisitExperts(spec.ScoreBeforeExperts ? rows.Spread(tokens, weights) : rows.Spread(tokens), visits.Ends);
        return spec.ScoreBeforeExperts ? rows.Combine(output) : rows.Combine(output, weights);
    }

    // the product casts float32 weights itself
    Tensor Factor(string weight, Tensor rows) =>
        Parameter(weight) is { dtype: ScalarType.Float32 } wide ? wide : Parameter(weight).to(rows.dtype);

    // rows (T k, width), expert by expert, through the experts
    Tensor VisitExperts(Tensor visits, Tensor ends)
    {
        Tensor Project(string weight, Tensor rows)
        {
            var projected = GroupedLinear.Forward(rows, Factor(weight, rows), ends);
            return Adapter(weight) is { IsMerged: false } adapter ? projected.add(adapter.Forward(rows, ends), Scalars.One) : projected;
        }
        var inner = Project("up", visits);
        if (!spec.Gated) return Project("down", Activations.Apply(spec.Activation, inner));
        var gate = Project("gate", visits);
        return spec.Activation == Activation.Silu && Adapter("down") is null or { IsMerged: true }
            ? GroupedLinear.ForwardOf(new SwiGluProduct(gate, inner) { OwnsInputs = true }, Factor("down", inner), ends)
            : Project("down", Activations.Gated(spec.Activation, gate, inner));
    }

    // with more choices than this, tokens that share an expert should read it together
    bool IsFew(Tensor tokens) =>
        tokens.device_type == DeviceType.CPU ? tokens.size(0) <= FewRowsLinear.MaxRows : IsFewOnDevice(tokens.size(0));

    bool IsFewOnDevice(long tokens) => tokens * spec.ExpertsPerToken <= Math.Min(SelectedLinear.MaxSelections, 2 * spec.Experts);

    bool SelectsFew(Tensor tokens) => !is_grad_enabled() && IsFew(tokens) && IsPlain && tokens.size(0) > 0;

    /// <inheritdoc/>
    internal override bool ReadsHostSizes(long tokens, ScalarType compute)
    {
        // the ranks of adapters can be of any size
        if (!IsPlain) return true;
        return !IsFewOnDevice(tokens) && GroupedLinear.ReadsSizes(compute, Parameter("up"));
    }

    bool IsPlain => ProjectionWeights.All(name => Adapter(name) is null or { IsMerged: true });

    /// <summary>Reads only the weights of the experts that a few tokens selected, without sorting.</summary>
    Tensor RouteFew(Tensor tokens, Tensor chosen, Tensor weights)
    {
        var output = EachExpert(tokens, chosen, weights);
        if (!spec.ScoreBeforeExperts) output = output * weights.flatten().unsqueeze(-1);
        return output.view(tokens.size(0), spec.ExpertsPerToken, -1).sum(1);
    }

    // (tokens x choices, width) before the weights of the choices
    Tensor EachExpert(Tensor tokens, Tensor chosen, Tensor weights)
    {
        long count = tokens.size(0), choices = spec.ExpertsPerToken;
        var experts = chosen.flatten();
        var visits = spec.ScoreBeforeExperts
            ? tokens.repeat_interleave(choices, 0, output_size: count * choices) * weights.flatten().unsqueeze(-1) : tokens;
        Tensor inner;
        if (spec is { Gated: true, Activation: Activation.Silu })
            inner = SelectedLinear.ForwardGated(visits, Parameter("gate"), Parameter("up"), experts);
        else
        {
            inner = SelectedLinear.Forward(visits, Parameter("up"), experts);
            inner = spec.Gated ? Activations.Gated(spec.Activation, SelectedLinear.Forward(visits, Parameter("gate"), experts), inner)
                : Activations.Apply(spec.Activation, inner);
        }
        return SelectedLinear.Forward(inner, Parameter("down"), experts);
    }

    /// <summary>Adds the losses and loads of a training pass; padding does not count.</summary>
    void Account(Tensor logits, Tensor scores, Tensor chosen, ExpertVisits visits, SequenceContext context)
    {
        var real = context.Layout?.Valid?.flatten().to(ScalarType.Float32);
        using (no_grad())
        {
            if (!context.IsRecomputation && get_buffer("load") is { } load)
            {
                load.add_(real is null ? visits.Loads
                    : (nn.functional.one_hot(chosen, spec.Experts).sum(1).to(ScalarType.Float32) * real.unsqueeze(-1)).sum(dim: 0), Scalars.One);
            }
        }
        if (spec.Balance is ExpertBalance.AuxiliaryLoss or ExpertBalance.JointAuxiliaryLoss && spec.BalanceRate > 0)
        {
            var probabilities = spec.Score == RouterScore.Softmax ? scores
                : scores / scores.sum(-1, keepdim: true).add(Scalars.From(1e-20), Scalars.One);
            var terms = LoadBalance.Terms(probabilities, chosen, real);
            if (spec.Balance == ExpertBalance.JointAuxiliaryLoss) context.AddBalance(terms, spec.BalanceRate);
            else context.AddLoss(LoadBalance.Loss([terms]).mul(Scalars.From(spec.BalanceRate)));
        }
        if (spec.RouterZLoss > 0)
            context.AddLoss(LoadBalance.MeanOver(logits.logsumexp(-1).pow(Scalars.Two).unsqueeze(-1), real).sum().mul(
                Scalars.From(spec.RouterZLoss)));
    }

    /// <summary>
    /// Raises the selection bias of experts with fewer tokens than the mean since the last call, and lowers that of the others, by the balance rate.
    /// </summary>
    public override void AfterStep()
    {
        if (get_buffer("load") is not { } load || get_buffer("selection_bias") is not { } bias) return;
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        if (!router.Weight.requires_grad)
        {
            load.zero_();       // a frozen router also keeps its bias
            return;
        }
        var change = (load.mean() - load).sign().mul(Scalars.From(spec.BalanceRate));
        bias.add_(change - change.mean(), Scalars.One);
        load.zero_();
    }
}
