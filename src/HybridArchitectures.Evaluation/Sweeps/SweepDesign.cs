using HybridArchitectures.Cost;
using HybridArchitectures.Design;

namespace HybridArchitectures.Evaluation.Sweeps;

/// <summary>Represents a design of a sweep.</summary>
/// <param name="Name">The name in tables, unique in the sweep.</param>
/// <param name="Design">The design to train.</param>
/// <param name="LearningRate">The peak learning rate, or null for that of the sweep.</param>
/// <param name="Family">
/// The family of designs of several sizes to which it belongs, for scaling fits over parameters and FLOPs. The default, null, means none.
/// </param>
public sealed record SweepDesign(string Name, HybridDesign Design, double? LearningRate = null, string? Family = null)
{
    /// <summary>Converts a design to a design of a sweep. Its name is that of the design, or its pattern if it has none.</summary>
    /// <param name="design">The design.</param>
    public static implicit operator SweepDesign(HybridDesign design)
    {
        ArgumentNullException.ThrowIfNull(design);
        return new(string.IsNullOrWhiteSpace(design.Name) ? design.Pattern : design.Name, design);
    }

    /// <summary>
    /// Changes the feed-forward widths of designs so that each has the same number of parameters, or operations, as the first (<see
    /// cref="DesignSolver.ByFeedForward"/>).
    /// </summary>
    /// <param name="designs">The designs, at least one. The first one is not changed.</param>
    /// <param name="measure">The quantity to equalise.</param>
    /// <param name="multiple">The number of which all widths are multiples. The default value is 8.</param>
    /// <param name="contextLength">The context length in tokens, for operations. The default value is 8,192.</param>
    /// <exception cref="ArgumentException">A design has no feed-forward, or has too many parameters without it.</exception>
    public static IReadOnlyList<SweepDesign> MatchSizes(
        IReadOnlyList<SweepDesign> designs, DesignMeasure measure = DesignMeasure.Parameters, int multiple = 8, int contextLength = 8192)
    {
        Require.Items(designs);
        Require.InRange(designs.Count > 0, $"{nameof(designs)}.Count", designs.Count, "at least 1 design");
        SweepDesign[] matched = [.. designs];
        for (int i = 1; i < matched.Length; i++)
            Require.Within($"design '{designs[i].Name}'", () => matched[i] = designs[i] with
            {
                Design = DesignSolver.ByFeedForward(designs[i].Design, measure, designs[0].Design, multiple, contextLength).Design,
            });
        return matched;
    }
}
