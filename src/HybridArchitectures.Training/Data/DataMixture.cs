using System.Diagnostics.CodeAnalysis;
using System.Globalization;

namespace HybridArchitectures.Training;

/// <summary>
/// What a run is trained on: one data set, or several by weight. Row n comes from the source that lies furthest behind its share of n + 1 rows, so that the shares hold at every place in
/// the run to within a row, and the order depends on nothing but the weights; a source that runs out begins its next epoch. The data sets stay the caller's.
/// </summary>
public sealed class DataMixture : ITrainingData
{
    /// <summary>A mixture.</summary>
    /// <param name="sources">At least one, of one vocabulary.</param>
    public DataMixture(params IReadOnlyList<MixtureSource> sources)
    {
        ArgumentNullException.ThrowIfNull(sources);
        if (sources.Count == 0) throw new ArgumentException("no source; expected at least one", nameof(sources));
        foreach (var source in sources)
        {
            ArgumentNullException.ThrowIfNull(source, nameof(sources));
            ArgumentNullException.ThrowIfNull(source.Data, nameof(sources));
            if (!(source.Weight > 0) || !double.IsFinite(source.Weight))
                throw new ArgumentException(string.Create(CultureInfo.InvariantCulture, $"source '{source.Name}' has weight {source.Weight}; expected a finite number above 0"), nameof(sources));
            if (source.Data.VocabularySize != sources[0].Data.VocabularySize)
                throw new ArgumentException($"source '{source.Name}' has a vocabulary of {source.Data.VocabularySize}; '{sources[0].Name}' has {sources[0].Data.VocabularySize}", nameof(sources));
        }
        Sources = [.. sources];
    }

    /// <summary>A data set alone.</summary>
    [return: NotNullIfNotNull(nameof(data))]
    public static implicit operator DataMixture?(TokenDataset? data) => data is null ? null : new(new MixtureSource(data, 1, "data"));

    /// <summary>The sources.</summary>
    public IReadOnlyList<MixtureSource> Sources { get; }

    /// <summary>One more than the largest id there may be.</summary>
    public int VocabularySize => Sources[0].Data.VocabularySize;

    /// <inheritdoc/>
    public string Description => Sources.Count == 1 ? Sources[0].Data.Description
        : string.Join("; ", Sources.Select(source => string.Create(CultureInfo.InvariantCulture, $"weight {source.Weight:r}: {source.Data.Description}")));

    /// <inheritdoc/>
    public TrainingReader OpenReader(TrainingReaderOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Check();
        return Sources.Count == 1 ? Sources[0].Data.OpenReader(options) : new MixtureReader(this, options);
    }
}
