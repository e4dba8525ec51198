using System.Text.Json.Serialization;

namespace HybridArchitectures.Design;

/// <summary>Attention and a state-space layer side by side in one block, both reading the same normed input (arXiv 2510.04800, section 3.2):
/// out = W(scale_s * norm(ssm(x))) (+) W(scale_a * norm(attention(x))). The gate and the convolution belong to the state-space branch. The defaults are the paper's
/// final choice: difference, norm per head, no learned scale, own values, separate output projections.</summary>
public sealed record IntraHybridSpec : MixerSpec
{
    /// <summary>The attention branch. Sizes left at 0: queries and keys half the model width, values (summed over query heads) the whole.</summary>
    public required AttentionSpec Attention { get; init; }

    /// <summary>The state-space branch, <see cref="Mamba1Spec"/> or <see cref="Mamba2Spec"/>. Sizes left at 0: inner width as the model width.
    /// Whether its own gated norm applies here is its <see cref="Mamba2Spec.GatedNorm"/>.</summary>
    public required MixerSpec StateSpace { get; init; }

    /// <summary>How the branches become one.</summary>
    public FusionKind Fusion { get; init; } = FusionKind.Difference;

    /// <summary>The norm over each branch.</summary>
    public BranchNorm Norm { get; init; } = BranchNorm.Group;

    /// <summary>A learned factor per channel on each branch, after the norm.</summary>
    public bool LearnedScale { get; init; }

    /// <summary>One output projection, or one per branch.</summary>
    public OutputProjection Output { get; init; } = OutputProjection.Separate;

    /// <summary>The attention's values are the state-space branch's x (after its convolution) instead of a projection of their own;
    /// needs key-value heads times value head size to be the inner width.</summary>
    public bool SharedValues { get; init; }

    /// <summary><c>H</c>.</summary>
    [JsonIgnore]
    public override string Symbol => "H";

    /// <summary>Channels of the state-space branch before its output projection.</summary>
    [JsonIgnore]
    public int InnerWidth => Branch.InnerWidth;

    /// <summary>Parts in which a <see cref="BranchNorm.Group"/> norm treats the state-space branch: its heads; for Mamba-1, which has none, the attention's.</summary>
    [JsonIgnore]
    public int StateSpaceNormGroups => StateSpace is Mamba2Spec mamba2 ? mamba2.Heads : Attention.Heads;

    IStateSpaceSpec Branch => StateSpace as IStateSpaceSpec ?? throw Require.Refusal("stateSpace", StateSpace?.GetType().Name, "a Mamba1Spec or a Mamba2Spec");

    /// <inheritdoc/>
    public override MixerSpec Resolve(int width)
    {
        CheckBranches();
        var stateSpace = Branch.Resolve(width, width);
        int inner = ((IStateSpaceSpec)stateSpace).InnerWidth;
        var attention = Attention;
        if (SharedValues && attention.ValueHeadSize == 0)
        {
            int groups = attention.KeyValueHeads == 0 ? attention.Heads : attention.KeyValueHeads;
            Require.That(groups > 0 && inner % groups == 0, "attention.keyValueHeads", groups,
                $"a divisor of the state-space branch's inner width {inner}, whose x is shared as values");
            attention = attention with { ValueHeadSize = inner / groups };
        }
        Require.That(attention.HeadSize != 0 || width % 2 == 0, "width", width, "an even number, since queries and keys take half of it, or a head size");
        return this with { Attention = attention.Resolve(width, width / 2, width), StateSpace = stateSpace };
    }

    /// <inheritdoc/>
    public override void Check(int width)
    {
        CheckBranches();
        Require.Within("attention", () => Attention.Check(width));
        Require.Within("stateSpace", () => StateSpace.Check(width));
        Require.Defined(Fusion, "fusion");
        Require.Defined(Norm, "norm");
        Require.Defined(Output, "output");
        int inner = InnerWidth, attended = Attention.OutputWidth;
        if (Output == OutputProjection.Separate)
            Require.That(Fusion != FusionKind.Concat, "output", Output, "Joint, since concatenated branches share one projection");
        else
        {
            Require.That(Fusion == FusionKind.Concat || attended == inner, "output", Output,
                $"Separate, Concat, or branches of one width: attention is {attended} wide, the state-space branch {inner}");
            Require.That(!Attention.OutputBias, "attention.outputBias", true, "false, since the joint projection has no bias");
        }
        Require.That(!SharedValues || Attention.ValueWidth == inner, "sharedValues", SharedValues,
            $"false, or keyValueHeads x valueHeadSize = {Attention.ValueWidth} to be the state-space branch's inner width {inner}");
        if (Norm == BranchNorm.Group) Require.Divides(StateSpaceNormGroups, "attention.heads", inner, "the state-space branch's inner width");
    }

    void CheckBranches()
    {
        Require.Present(Attention, "attention", "an AttentionSpec");
        _ = Branch;
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
}
