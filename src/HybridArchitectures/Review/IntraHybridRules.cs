using HybridArchitectures.Design;
using HybridArchitectures.Kernels;
using static HybridArchitectures.Review.DesignRules;

namespace HybridArchitectures.Review;

/// <summary>Contains the rules about how the branches of an intra-layer hybrid are combined.</summary>
static class IntraHybridRules
{
    const string Tables = Paper + ", Tables 18 and 19";

    public static IReadOnlyList<DesignRule> All { get; } =
    [
        new("intra-norm", "An intra-layer hybrid without a norm over each branch.",
        (design, _) => Each(design, intra => intra.Norm == BranchNorm.None, Norm)),
        new("intra-scale", "A learned scale in addition to the norm of the branches.",
        (design, _) => Each(design, intra => intra.LearnedScale && intra.Norm != BranchNorm.None, Scale)),
        new("intra-joint-output", "One output projection for the sum, difference or gate of both branches.",
            (design, _) => Each(design, intra => intra.Output == OutputProjection.Joint && intra.Fusion != FusionKind.Concat, Joint)),
        new("intra-shared-values", "Attention that uses the x of the state-space branch as its values.",
        (design, _) => Each(design, intra => intra.SharedValues, Shared)),
        new("intra-narrow-attention", "Queries and keys narrower than 0.4 times the state-space branch before its expansion.",
            (design, _) => Each(design, intra => 5L * intra.Attention.QueryWidth < intra.InnerWidth, Narrow)),
    ];

    static IEnumerable<Finding> Each(
        HybridDesign design, Func<IntraHybridSpec, bool> isWrong, Func<int, IntraHybridSpec, HybridDesign, Finding> finding) =>
        Mixers<IntraHybridSpec>(design).Where(entry => isWrong(entry.Mixer)).Select(entry => finding(entry.Layer, entry.Mixer, design));

    static Finding Norm(int layer, IntraHybridSpec intra, HybridDesign design)
    {
        bool joint = intra.Output == OutputProjection.Joint && intra.Fusion != FusionKind.Concat;
        bool heads = intra.InnerWidth % intra.StateSpaceNormGroups == 0;
        return new("intra-norm", joint ? Severity.Warning : Severity.Info, layer,
            "the branches are combined without a norm; their scales differ by more than a factor of 10.",
            joint ? new("+0.017 NLL at 1B, +0.013 at 350M", Tables) : new("+0.003 to +0.006 NLL with separate or concatenated branches", Tables),
            heads ? new("Norm = BranchNorm.Group", Change<IntraHybridSpec>(layer, spec => spec with { Norm = BranchNorm.Group }), Safe: true)
                : new("Norm = BranchNorm.Rms", Change<IntraHybridSpec>(layer, spec => spec with { Norm = BranchNorm.Rms })));
    }

    static Finding Scale(int layer, IntraHybridSpec intra, HybridDesign design) =>
        new("intra-scale", Severity.Warning, layer, "the normalized branches also have a learned scale.",
        new("+0.005 to +0.015 NLL", Tables),
        new("LearnedScale = false", Change<IntraHybridSpec>(layer, spec => spec with { LearnedScale = false }), Safe: true));

    static Finding Joint(int layer, IntraHybridSpec intra, HybridDesign design) => new("intra-joint-output", Severity.Warning, layer,
        "both branches share one output projection after their sum.",
        new("+0.007 to +0.018 NLL at equal parameters, with one block more", Tables),
        new("Output = OutputProjection.Separate", Change<IntraHybridSpec>(layer, spec => spec with { Output = OutputProjection.Separate })));

    static Finding Shared(int layer, IntraHybridSpec intra, HybridDesign design) =>
        new("intra-shared-values", Severity.Info, layer, "attention has no separate values.",
        new("+0.002 to +0.007 NLL at equal parameters, with one block more", Tables),
        new("SharedValues = false", Change<IntraHybridSpec>(layer, spec => spec with { SharedValues = false })));

    static Finding Narrow(int layer, IntraHybridSpec intra, HybridDesign design)
    {
        int heads = intra.Attention.Heads, size = Math.Max(8, (intra.InnerWidth / 2 / heads + 7) / 8 * 8);
        return new("intra-narrow-attention", Severity.Warning, layer,
            $"queries have the width {intra.Attention.QueryWidth}, and the state-space branch has the width {intra.InnerWidth / 2} before its "
            + "expansion.",
            new("128 : 1408 costs +0.037 NLL at 1B and +0.067 at 350M compared with 1 : 1; 512 : 1280 costs +0.009 and +0.032", Paper + ", Table 20"),
            Possible(design, "wider queries and keys",
            new Remedy($"Attention = Attention with {{ HeadSize = {size} }}",
            ChangeAttention(layer, attention => attention with { HeadSize = size }))));
    }
}
