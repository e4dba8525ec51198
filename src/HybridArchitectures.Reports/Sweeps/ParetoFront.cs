namespace HybridArchitectures.Reports.Sweeps;

/// <summary>Which designs no other one betters in both quality and cost.</summary>
static class ParetoFront
{
    /// <summary>Returns the points that no other dominates, by cost.</summary>
    /// <param name="points">The points.</param>
    /// <param name="isCheapLow">Whether a low cost is good; false for speeds.</param>
    /// <param name="isHighBetter">Whether a high quality is good; false for losses.</param>
    public static IReadOnlyList<ScatterPoint> Find(IReadOnlyList<ScatterPoint> points, bool isCheapLow, bool isHighBetter) =>
        [.. points.Where(point => Dominators(points, point, isCheapLow, isHighBetter).Count == 0).OrderBy(point => point.Cost)];

    /// <summary>Returns the points that are at least as good as one in both and better in one of them.</summary>
    /// <inheritdoc cref="Find"/>
    public static IReadOnlyList<ScatterPoint> Dominators(IReadOnlyList<ScatterPoint> points, ScatterPoint point, bool isCheapLow, bool isHighBetter)
    {
        double Cost(ScatterPoint of) => isCheapLow ? of.Cost : -of.Cost;
        double Loss(ScatterPoint of) => isHighBetter ? -of.Quality : of.Quality;
        return [.. points.Where(other => Cost(other) <= Cost(point) && Loss(other) <= Loss(point)
            && (Cost(other) < Cost(point) || Loss(other) < Loss(point)))];
    }
}
