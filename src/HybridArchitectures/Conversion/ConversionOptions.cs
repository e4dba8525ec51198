namespace HybridArchitectures.Conversion;

/// <summary>Contains the options of the conversion of a model.</summary>
public sealed record ConversionOptions
{
    /// <summary>Gets or sets the seed of fresh weights. The default is 0.</summary>
    public long Seed { get; init; }

    /// <summary>
    /// Gets or sets the statistics of the attention of the model, from which decays, gates and norms of the new layers are initialised. The default,
    /// null, uses rules that need no data.
    /// </summary>
    public AttentionStatistics? Statistics { get; init; }
}
