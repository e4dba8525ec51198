namespace HybridArchitectures.Reports.Sweeps;

/// <summary>Finds the designs that no other design surpasses in both quality and cost.</summary>
static class ParetoFront
{
    /// <summary>Returns the points that no other point dominates, by increasing cost.</summary>
    /// <param name="points">The points.</param>
    /// <param name="isCheapLow">True if a low cost is good; false for speeds.</param>
    /// <param name="isHighBetter">True if a high quality is good; false for losses.</param>
    public static IReadOnlyList<ScatterPoint> Find(IReadOnlyList<ScatterPoint> points, bool isCheapLow, bool isHighBetter) =>
        [.. points.Where(point => Dominators(points, point, isCheapLow, isHighBetter).Count == 0).OrderBy(point => point.Cost)];

    /// <summary>Returns the points that dominate a point: at least as good in both and better in one.</summary>
    /// <inheritdoc cref="Find"/>
    public static IReadOnlyList<ScatterPoint> Dominators(IReadOnlyList<ScatterPoint> points, ScatterPoint point, bool isCheapLow, bool isHighBetter)
    {
        double Cost(ScatterPoint of) => isCheapLow ? of.Cost : -of.Cost;
        double Loss(ScatterPoint of) => isHighBetter ? -of.Quality : of.Quality;
        return [.. points.Where(other => Cost(other) <= Cost(point) && Loss(other) <= Loss(point)
            && (Cost(other) < Cost(point) || Loss(other) < Loss(point)))];
    }
}
