using HybridArchitectures.Cost;
using HybridArchitectures.Design;

namespace HybridArchitectures.Evaluation;

/// <summary>A design of a sweep.</summary>
/// <param name="Name">What tables call it; no other design of the sweep has the same name.</param>
/// <param name="Design">The design.</param>
/// <param name="LearningRate">Its peak learning rate; null for that of the sweep.</param>
/// <param name="Family">
/// The family of designs of several sizes to which it belongs, for scaling fits over parameters and FLOPs. The default, null, means none.
/// </param>
public sealed record SweepDesign(string Name, HybridDesign Design, double? LearningRate = null, string? Family = null)
{
    /// <summary>Takes a design under its own name, or its pattern where it has none.</summary>
    /// <param name="design">The design.</param>
    public static implicit operator SweepDesign(HybridDesign design)
    {
        ArgumentNullException.ThrowIfNull(design);
        return new(string.IsNullOrWhiteSpace(design.Name) ? design.Pattern : design.Name, design);
    }

    /// <summary>
    /// Changes the feed-forward widths of designs so that each has as many parameters, or operations, as the first (<see
    /// cref="DesignSolver.ByFeedForward"/>).
    /// </summary>
    /// <param name="designs">At least one; the first stays as it is.</param>
    /// <param name="measure">What is to be equal.</param>
    /// <param name="multiple">Of what the widths are multiples. The default value is 8.</param>
    /// <param name="contextLength">Tokens of a row, for operations. The default value is 8,192.</param>
    /// <exception cref="ArgumentException">A design has no feed-forward, or is too large without it.</exception>
    public static IReadOnlyList<SweepDesign> MatchSizes(
        IReadOnlyList<SweepDesign> designs, DesignMeasure measure = DesignMeasure.Parameters, int multiple = 8, int contextLength = 8192)
    {
        ArgumentNullException.ThrowIfNull(designs);
        Require.InRange(designs.Count > 0, $"{nameof(designs)}.Count", designs.Count, "at least 1 design");
        return [.. designs.Select((item, index) => index == 0 ? item
            : item with { Design = DesignSolver.ByFeedForward(item.Design, measure, designs[0].Design, multiple, contextLength).Design })];
    }
}
