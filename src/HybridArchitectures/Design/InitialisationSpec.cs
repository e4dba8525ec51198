namespace HybridArchitectures.Design;

/// <summary>
/// Describes the random weights at the start of training: a truncated normal distribution with mean 0. Norm weights start at 1 and biases at 0. The
/// specs of state-space layers describe their constants (A, D, dt).
/// </summary>
public sealed record InitialisationSpec
{
    /// <summary>Gets or sets the standard deviation of projections. The default is 0.02.</summary>
    public double StandardDeviation { get; init; } = 0.02;

    /// <summary>Gets or sets the standard deviation of the embedding. The default is 0.02.</summary>
    public double EmbeddingStandardDeviation { get; init; } = 0.02;

    /// <summary>Gets or sets the number of standard deviations beyond which a value is drawn again. Null means no limit. The default is 3.</summary>
    public double? Cutoff { get; init; } = 3;

    /// <summary>
    /// Gets or sets how the initial weights of projections into the residual stream are scaled. The default is
    /// <see cref="ResidualScaling.Position"/>.
    /// </summary>
    public ResidualScaling Residual { get; init => field = Require.Defined(value, nameof(Residual)); } = ResidualScaling.Position;

    internal void Check()
    {
        Require.NotNegative(StandardDeviation, "standardDeviation");
        Require.NotNegative(EmbeddingStandardDeviation, "embeddingStandardDeviation");
        if (Cutoff is { } cutoff)
            Require.That(double.IsFinite(cutoff) && cutoff >= 0.5, "cutoff", cutoff, "a finite number of at least 0.5, or none");
    }
}
