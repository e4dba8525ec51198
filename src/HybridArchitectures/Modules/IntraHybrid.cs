using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>
/// Computes attention and a state-space mixer in parallel in one layer (arXiv 2510.04800, section 3.2). Both read the same normed input. Each branch
/// is normed, and the two are fused before or after the output projection.
/// </summary>
public sealed class IntraHybrid : Mixer
{
    readonly IntraHybridSpec spec;
    readonly Attention attention;
    readonly StateSpaceMixer stateSpace;
    readonly RootMeanSquareNorm? attentionNorm, stateSpaceNorm;
    readonly Linear? output;
    readonly double normEpsilon;

    /// <summary>Creates an intra-layer hybrid.</summary>
    public IntraHybrid(ModuleFactory factory, IntraHybridSpec spec) : base(nameof(IntraHybrid), spec)
    {
        ModuleChecks.Spec(factory, spec);
        this.spec = spec;
        normEpsilon = factory.NormEpsilon;
        bool separate = spec.Output == OutputProjection.Separate;
        int attentionWidth = spec.Attention.OutputWidth, stateSpaceWidth;
        attention = Add("attention", new Attention(factory, spec.Attention, ownValues: !spec.SharedValues, ownOutput: separate));
        switch (spec.StateSpace)
        {
            case Mamba2Spec mamba2:
                stateSpace = Add("state_space", new Mamba2(factory, mamba2, ownOutput: separate));
                stateSpaceWidth = mamba2.InnerWidth;
                break;
            case Mamba1Spec mamba1:
                stateSpace = Add("state_space", new Mamba1(factory, mamba1, ownOutput: separate));
                stateSpaceWidth = mamba1.InnerWidth;
                break;
            default:
                throw Require.Unfit(nameof(spec), $"the state-space branch is a {spec.StateSpace.GetType().Name}",
                $"{nameof(Mamba1Spec)} or {nameof(Mamba2Spec)}");
        }
        if (spec.Norm == BranchNorm.Rms)
        {
            attentionNorm = Add("attention_norm", new RootMeanSquareNorm(factory, attentionWidth, normEpsilon));
            stateSpaceNorm = Add("state_space_norm", new RootMeanSquareNorm(factory, stateSpaceWidth, normEpsilon));
        }
        if (spec.LearnedScale)
        {
            AddParameter("attention_scale", factory.Constant(1, attentionWidth), decays: false);
            AddParameter("state_space_scale", factory.Constant(1, stateSpaceWidth), decays: false);
        }
        if (spec.Fusion == FusionKind.Gate) AddParameter("gate", factory.Constant(0, separate ? factory.Width : stateSpaceWidth), decays: false);
        if (!separate)
            output = Add("output", new Linear(
                factory.Projection(factory.Width, spec.Fusion == FusionKind.Concat ? attentionWidth + stateSpaceWidth : stateSpaceWidth,
                intoResidual: true)));
    }

    /// <inheritdoc/>
    public override Tensor Forward(Tensor x, SequenceContext context, MixerState? state)
    {
        ArgumentNullException.ThrowIfNull(context);
        var states = Combined(state);
        var (scanned, values) = stateSpace.Scan(x, context, states?.StateSpace);
        var attended = attention.Attend(x, context, states?.Attention, spec.SharedValues ? values : null);
        if (output is not null)
        {
            if (context.Probe is not null)
                Inspect(context, scanned, attended, Entering(scanned, stateSpaceNorm, spec.StateSpaceNormGroups, "state_space_scale"),
                    Entering(attended, attentionNorm, spec.Attention.Heads, "attention_scale"));
            return output.Forward(Fused(scanned, attended));
        }
        var first = stateSpace.Project(Entering(scanned, stateSpaceNorm, spec.StateSpaceNormGroups, "state_space_scale"));
        var second = attention.Project(Entering(attended, attentionNorm, spec.Attention.Heads, "attention_scale"));
        if (context.Probe is not null) Inspect(context, scanned, attended, first, second);
        return BranchFusion.Forward(new(first), new(second), spec.Fusion, Gate);
    }

    Tensor? Gate => spec.Fusion == FusionKind.Gate ? Parameter("gate") : null;

    // a branch with its norm and its learned scale
    Tensor Entering(Tensor value, RootMeanSquareNorm? norm, int groups, string scale)
    {
        var normed = Normed(value, norm, groups);
        return spec.LearnedScale ? normed * Parameter(scale).to(normed.dtype) : normed;
    }

    void Inspect(SequenceContext context, Tensor scanned, Tensor attended, Tensor first, Tensor second)
    {
        if (Gate is { } gate)
        {
            var share = gate.sigmoid().to(first.dtype);
            (first, second) = (share * first, second - share * second);
        }
        context.Probe!.OnBranches(context, scanned, attended, first, second);
    }

    /// <inheritdoc/>
    internal override Tensor? StepSum(StepInput input, SequenceContext context, MixerState state)
    {
        if (output is null || !attention.IsUnscaled) return null;
        var states = Combined(state)!;
        if (stateSpace.ScanStep(input, context, states.StateSpace) is not { } scanned) return null;
        var attended = attention.AttendStep(input, context, states.Attention, spec.SharedValues ? scanned.Values : null);
        return output.ForwardSum(Fused(scanned.Output, attended), input.Stream);
    }

    static CombinedState? Combined(MixerState? state) => ModuleChecks.State<CombinedState>(state, "an intra-layer hybrid");

    // before the joint projection
    Tensor Fused(Tensor scanned, Tensor attended) =>
        BranchFusion.Forward(Branch(scanned, stateSpaceNorm, spec.StateSpaceNormGroups, "state_space_scale"),
            Branch(attended, attentionNorm, spec.Attention.Heads, "attention_scale"), spec.Fusion, Gate, normEpsilon);

    // a branch as computed, with the operations before the joint projection
    FusionBranch Branch(Tensor value, RootMeanSquareNorm? norm, int groups, string scale)
    {
        Tensor? factor = spec.LearnedScale ? Parameter(scale) : null;
        return spec.Norm switch
        {
            BranchNorm.None => new(value, factor),
            BranchNorm.Rms => new(value, factor is null ? norm!.Weight : norm!.Weight * factor, 1),
            BranchNorm.Group => new(value, factor, groups),
            _ => throw new InvalidOperationException($"unknown branch norm {spec.Norm}"),
        };
    }

    Tensor Normed(Tensor branch, RootMeanSquareNorm? norm, int groups) => spec.Norm switch
    {
        BranchNorm.None => branch,
        BranchNorm.Rms => norm!.Forward(branch),
        BranchNorm.Group => RmsNorm.Forward(branch, null, normEpsilon, groups),
        _ => throw new InvalidOperationException($"unknown branch norm {spec.Norm}"),
    };

    /// <inheritdoc/>
    public override MixerState CreateState(int batch, ScalarType compute, Device device) =>
        new CombinedState(attention.CreateState(batch, compute, device), stateSpace.CreateState(batch, compute, device));
}
