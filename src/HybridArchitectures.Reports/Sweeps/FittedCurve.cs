using HybridArchitectures.Evaluation.Statistics;
using HybridArchitectures.Evaluation.Sweeps;

namespace HybridArchitectures.Reports.Sweeps;

/// <summary>Represents a scaling curve with its fit and its colour.</summary>
/// <param name="Curve">The points of the curve.</param>
/// <param name="Fit">The fit of the points.</param>
/// <param name="Index">The index of the colour.</param>
sealed record FittedCurve(ScalingCurve Curve, ScalingFit Fit, int Index)
{
    /// <summary>Gets the maximum scale.</summary>
    public double MaxScale => Curve.Points.Max(point => point.Scale);
}
