namespace HybridArchitectures.Design;

/// <summary>Random weights at the start of training: normal with mean 0, cut off. Norm weights start at 1, biases at 0; a state-space layer's own
/// constants (A, D, dt) are described by its spec.</summary>
public sealed record InitialisationSpec
{
    /// <summary>Standard deviation of projections.</summary>
    public double StandardDeviation { get; init; } = 0.02;

    /// <summary>Standard deviation of the embedding.</summary>
    public double EmbeddingStandardDeviation { get; init; } = 0.02;

    /// <summary>Values beyond this many standard deviations are drawn again; null: none are.</summary>
    public double? Cutoff { get; init; } = 3;

    /// <summary>How projections that write into the residual stream are scaled down.</summary>
    public ResidualScaling Residual { get; init; } = ResidualScaling.Position;

    internal void Check()
    {
        Require.NotNegative(StandardDeviation, "standardDeviation");
        Require.NotNegative(EmbeddingStandardDeviation, "embeddingStandardDeviation");
        if (Cutoff is { } cutoff) Require.That(double.IsFinite(cutoff) && cutoff >= 0.5, "cutoff", cutoff, "a finite number of at least 0.5, or none");
        Require.Defined(Residual, "residual");
    }
}
