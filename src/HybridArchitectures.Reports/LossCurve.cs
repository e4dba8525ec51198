namespace HybridArchitectures.Reports;

/// <summary>Contains the losses of one run.</summary>
/// <param name="Name">The name of the run in the legend.</param>
/// <param name="Points">The points in order of time.</param>
public sealed record LossCurve(string Name, IReadOnlyList<RunPoint> Points)
{
    /// <summary>
    /// Gets or sets the final held-out loss in the unit of the plot. The default, null, means the last held-out loss in <see cref="Points"/>.
    /// </summary>
    public double? HeldOutLoss { get; init; }

    /// <summary>
    /// Gets the final held-out loss, which the legend shows: <see cref="HeldOutLoss"/>, or else the last one in <see cref="Points"/>. Null if there
    /// is none.
    /// </summary>
    public double? FinalHeldOutLoss => HeldOutLoss ?? Points.LastOrDefault(point => point.HeldOutLoss is not null)?.HeldOutLoss;
}
