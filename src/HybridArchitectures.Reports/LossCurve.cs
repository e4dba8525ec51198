namespace HybridArchitectures.Reports;

/// <summary>The losses of one run over its training.</summary>
/// <param name="Name">What the legend calls the run.</param>
/// <param name="Points">In order of time.</param>
public sealed record LossCurve(string Name, IReadOnlyList<RunPoint> Points)
{
    /// <summary>Gets or sets the final loss on held-out text, in the plot's unit. The default, null, means the last one measured in <see cref="Points"/>.</summary>
    public double? HeldOutLoss { get; init; }

    /// <summary>Gets <see cref="HeldOutLoss"/>, or the last one measured; null if there is none. The legend prints it.</summary>
    public double? FinalHeldOutLoss => HeldOutLoss ?? Points.LastOrDefault(point => point.HeldOutLoss is not null)?.HeldOutLoss;
}
