using System.Text.Json.Serialization;
using HybridArchitectures.Kernels;

namespace HybridArchitectures.Design;

/// <summary>
/// Describes attention and a state-space layer in parallel in one block (arXiv 2510.04800, section 3.2): out = W(scale_s * norm(ssm(x))) (+)
/// W(scale_a * norm(attention(x))). Both read the same normalized input.
/// </summary>
/// <remarks>
/// The gate and the convolution belong to the state-space branch. The defaults are the final choice of the paper: difference, norm per head, no
/// learned scale, separate values, and separate output projections.
/// </remarks>
/// <example>
/// <code>
/// var intra = new IntraHybridSpec
/// {
///     Attention = new AttentionSpec { Heads = 4, Rotary = new RotarySpec() },
///     StateSpace = new Mamba2Spec { HeadSize = 32, StateSize = 32 },
///     Fusion = FusionKind.Difference,
/// };
/// HybridDesign design = HybridDesign.Create(width: 128, vocabularySize: 256).WithIntraHybrid(intra).WithMamba2(32, 32)
///     .WithFeedForward(FeedForwardSpec.SwiGlu(352)).Pattern("MMHM").Build();
/// </code>
/// </example>
public sealed record IntraHybridSpec : MixerSpec
{
    /// <summary>
    /// Gets or sets the attention branch. Sizes that are 0 are derived: queries and keys have half the model width, and values (over all query heads)
    /// the model width.
    /// </summary>
    public required AttentionSpec Attention { get; init => field = value ?? throw new ArgumentNullException(nameof(Attention)); }

    /// <summary>
    /// Gets or sets the state-space branch, a <see cref="Mamba1Spec"/> or a <see cref="Mamba2Spec"/>. An inner width of 0 means the model width.
    /// <see cref="Mamba2Spec.GatedNorm"/> decides whether its gated norm applies here.
    /// </summary>
    public required MixerSpec StateSpace { get; init => field = value ?? throw new ArgumentNullException(nameof(StateSpace)); }

    /// <summary>Gets or sets how the branches are combined. The default is <see cref="FusionKind.Difference"/>.</summary>
    public FusionKind Fusion { get; init => field = Require.Defined(value, nameof(Fusion)); } = FusionKind.Difference;

    /// <summary>Gets or sets the norm of each branch. The default is <see cref="BranchNorm.Group"/>.</summary>
    public BranchNorm Norm { get; init => field = Require.Defined(value, nameof(Norm)); } = BranchNorm.Group;

    /// <summary>Gets or sets whether each branch has a learned scale per channel after the norm. The default is false.</summary>
    public bool LearnedScale { get; init; }

    /// <summary>
    /// Gets or sets whether there is one output projection, or one per branch. The default is <see cref="OutputProjection.Separate"/>.
    /// </summary>
    public OutputProjection Output { get; init => field = Require.Defined(value, nameof(Output)); } = OutputProjection.Separate;

    /// <summary>
    /// Gets or sets whether attention uses the x of the state-space branch, after its convolution, as its values. The default, false, means a
    /// separate projection. If true, key/value heads times value head size must equal the inner width.
    /// </summary>
    public bool SharedValues { get; init; }

    /// <summary>Gets the letter <c>H</c>.</summary>
    [JsonIgnore]
    public override string Symbol => "H";

    internal override MixerKind Kind => MixerKind.Both;

    internal override bool StoresNarrowStates => StateSpace.StoresNarrowStates;

    internal override bool IsFullAttention => Attention.IsFullAttention;

    internal override bool HasPositions => Attention.HasPositions;

    internal override MixerSpec WithoutPositions() => this with { Attention = (AttentionSpec)Attention.WithoutPositions() };

    internal override ChunkSetting? Chunks => StateSpace is { Chunks: { } inner }
        ? new(inner.Size, size => this with { StateSpace = inner.Change(size) }) : null;

    /// <summary>Gets the number of channels of the state-space branch before its output projection.</summary>
    [JsonIgnore]
    public int InnerWidth => Branch.InnerWidth;

    /// <summary>
    /// Gets the number of groups of the state-space branch for a <see cref="BranchNorm.Group"/> norm: its number of heads. Mamba-1 has no heads, so
    /// it uses that of attention.
    /// </summary>
    [JsonIgnore]
    public int StateSpaceNormGroups => StateSpace is Mamba2Spec mamba2 ? mamba2.Heads : Attention.Heads;

    IStateSpaceSpec Branch => StateSpace as IStateSpaceSpec
        ?? throw Require.Refusal("stateSpace", StateSpace.GetType().Name, "a Mamba1Spec or a Mamba2Spec");

    /// <inheritdoc/>
    public override MixerSpec Resolve(int width)
    {
        var stateSpace = Branch.Resolve(width, width);
        int inner = ((IStateSpaceSpec)stateSpace).InnerWidth;
        var attention = Attention;
        if (SharedValues && attention.ValueHeadSize == 0)
        {
            int groups = attention.KeyValueHeads == 0 ? attention.Heads : attention.KeyValueHeads;
            Require.That(groups > 0 && inner % groups == 0, "attention.keyValueHeads", groups,
                $"a divisor of the inner width {inner} of the state-space branch, whose x is shared as values");
            attention = attention with { ValueHeadSize = inner / groups };
        }
        Require.That(
            attention.HeadSize != 0 || width % 2 == 0, "width", width, "an even number, because queries and keys use half of it, or a head size");
        return this with { Attention = attention.Resolve(width, width / 2, width), StateSpace = stateSpace };
    }

    /// <inheritdoc/>
    public override void Check(int width)
    {
        _ = Branch;
        Require.Within("attention", () => Attention.Check(width));
        Require.Within("stateSpace", () => StateSpace.Check(width));
        int inner = InnerWidth, attended = Attention.OutputWidth;
        if (Output == OutputProjection.Separate)
            Require.That(Fusion != FusionKind.Concat, "output", Output, "Joint, because concatenated branches share one projection");
        else
        {
            Require.That(Fusion == FusionKind.Concat || attended == inner, "output", Output,
                $"Separate, Concat, or branches of equal width; attention has width {attended}, the state-space branch {inner}");
            Require.That(!Attention.OutputBias, "attention.outputBias", true, "false, because the joint projection has no bias");
        }
        Require.That(!SharedValues || Attention.ValueWidth == inner, "sharedValues", SharedValues,
            $"false, or keyValueHeads x valueHeadSize = {Attention.ValueWidth} equal to the inner width {inner} of the state-space branch");
        if (Norm == BranchNorm.Group) Require.Divides(StateSpaceNormGroups, "attention.heads", inner, "the inner width of the state-space branch");
    }

    /// <inheritdoc/>
    public override long CountParameters(int width)
    {
        long inner = InnerWidth, attended = Attention.OutputWidth, both = inner + attended;
        long branches = Attention.CountInputParameters(width, SharedValues) + Branch.CountInputParameters(width);
        long norm = Norm == BranchNorm.Rms ? both : 0, scale = LearnedScale ? both : 0;
        if (Output == OutputProjection.Separate)
            return branches + norm + scale + Attention.CountOutputParameters(width) + Branch.CountOutputParameters(width)
                + (Fusion == FusionKind.Gate ? width : 0);
        long projected = Fusion == FusionKind.Concat ? both : inner;
        return branches + norm + scale + projected * width + (Fusion == FusionKind.Gate ? inner : 0);
    }

    /// <inheritdoc/>
    public override double CountMatrixWeights(int width)
    {
        bool both = Output == OutputProjection.Separate || Fusion == FusionKind.Concat;
        return Attention.CountInputWeights(width, SharedValues) + Branch.CountInputWeights(width)
            + (double)width * (both ? Attention.OutputWidth + InnerWidth : InnerWidth);
    }

    /// <inheritdoc/>
    public override double CountMixingFlops(int width, FlopAccounting accounting, SeenTokens seen) =>
        Attention.CountMixingFlops(width, accounting, seen) + StateSpace.CountMixingFlops(width, accounting, seen);

    /// <inheritdoc/>
    public override MixerCache CountCache(int width, long length, int elementSize) =>
        Attention.CountCache(width, length, elementSize) + StateSpace.CountCache(width, length, elementSize);

    /// <inheritdoc/>
    public override double CountPaperCacheBytes(int width, long length) =>
        Attention.CountPaperCacheBytes(width, length) + StateSpace.CountPaperCacheBytes(width, length);

    /// <inheritdoc/>
    public override double CountStepTraffic(int width, long length, int elementSize) =>
        Attention.CountStepTraffic(width, length, elementSize) + StateSpace.CountStepTraffic(width, length, elementSize);

    internal override bool SavesInput => Attention.SavesInput || StateSpace.SavesInput;

    /// <inheritdoc/>
    public override double CountSavedActivations(int width, TrainingStepShape step)
    {
        ArgumentNullException.ThrowIfNull(step);
        return Attention.CountSavedActivations(width, step) + StateSpace.CountSavedActivations(width, step)
            + (CountSavedChannels(width, step.Gpu is not null) + CountBranchOutput(step)) * step.ElementSize;
    }

    // a state-space branch with an output projection computes the input of that projection again; here, the norm and the fusion read it
    double CountBranchOutput(TrainingStepShape step) => StateSpace is Mamba2Spec && step.RecomputesInputs ? InnerWidth : 0;

    // channels between the branches and the residual stream; the branches' own outputs are counted with them
    double CountSavedChannels(int width, bool onGpu)
    {
        double branches = (double)Attention.OutputWidth + InnerWidth, normed = Norm == BranchNorm.None ? 0 : branches;
        // the projections read normed and scaled branches; a gate reads their outputs, and so does the kernel that joins them on a GPU
        if (Output == OutputProjection.Separate)
            return normed + (LearnedScale ? branches : 0) + (onGpu || Fusion == FusionKind.Gate ? 2.0 * width : 0);
        double joined = Fusion == FusionKind.Concat ? branches : InnerWidth;
        return joined + (onGpu ? 0 : normed);
    }

    internal override bool NeedsMask(TrainingStepShape step) => Attention.NeedsMask(step);

    /// <inheritdoc/>
    public override MixerDescription Describe()
    {
        var (attention, stateSpace) = (Attention.Describe(), StateSpace.Describe());
        string fusion = Fusion switch
        {
            FusionKind.Difference => $"{stateSpace.Name} minus attention",
            FusionKind.Add => $"{stateSpace.Name} plus attention",
            FusionKind.Concat => $"{stateSpace.Name} next to attention",
            _ => $"{stateSpace.Name} and attention, gated",
        };
        return new("Intra-layer hybrid", $"{attention.Summary} | {stateSpace.Summary}, {Fusion.ToString().ToLowerInvariant()}",
            $"{fusion}: {stateSpace.Details} | {attention.Details}", stateSpace.Color, attention.Color);
    }
}
