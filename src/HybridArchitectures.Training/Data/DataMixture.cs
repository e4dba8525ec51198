using System.Diagnostics.CodeAnalysis;
using System.Globalization;

namespace HybridArchitectures.Training.Data;

/// <summary>
/// Represents one data set, or several data sets that are mixed by weight. Row n comes from the source that is furthest behind its share of n + 1
/// rows. The shares are therefore exact to within one row at every point of the run, and the order depends only on the weights. A source that is
/// exhausted starts its next epoch. The mixture does not own the data sets.
/// </summary>
/// <example>
/// <code>
/// using var code = TokenDataset.FromTokens(Enumerable.Range(0, 5000).Select(i => i % 200).ToArray(), 256);
/// using var prose = TokenDataset.FromTokens(Enumerable.Range(0, 9000).Select(i => i * 7 % 200).ToArray(), 256);
/// var mixture = new DataMixture(new MixtureSource(code, 0.3, "code"), new MixtureSource(prose, 0.7, "prose"));
/// </code>
/// </example>
public sealed class DataMixture : ITrainingData
{
    /// <summary>Creates a mixture.</summary>
    /// <param name="sources">The sources, at least one, all with the same vocabulary size.</param>
    public DataMixture(params IReadOnlyList<MixtureSource> sources)
    {
        Require.Items(sources);
        if (sources.Count == 0) throw Require.Unfit(nameof(sources), "no source", "at least one");
        foreach (var source in sources)
        {
            ArgumentNullException.ThrowIfNull(source.Data, nameof(sources));
            if (!(source.Weight > 0) || !double.IsFinite(source.Weight))
                throw Require.Unfit(nameof(sources), $"source '{source.Name}' has weight {source.Weight}", "a finite number above 0");
            if (source.Data.VocabularySize != sources[0].Data.VocabularySize)
                throw Require.Unfit(nameof(sources),
                    $"source '{source.Name}' has a vocabulary size of {source.Data.VocabularySize}",
                    $"{sources[0].Data.VocabularySize}, as '{sources[0].Name}' has");
        }
        Sources = [.. sources];
    }

    /// <summary>Converts a single data set.</summary>
    [return: NotNullIfNotNull(nameof(data))]
    public static implicit operator DataMixture?(TokenDataset? data) => data is null ? null : new(new MixtureSource(data, 1, "data"));

    /// <summary>Gets the sources.</summary>
    public IReadOnlyList<MixtureSource> Sources { get; }

    /// <summary>Gets the vocabulary size: one more than the maximum id.</summary>
    public int VocabularySize => Sources[0].Data.VocabularySize;

    /// <inheritdoc/>
    public string Description => Sources.Count == 1 ? Sources[0].Data.Description
        : string.Join("; ", Sources.Select(
        source => string.Create(CultureInfo.InvariantCulture, $"weight {source.Weight:r}: {source.Data.Description}")));

    /// <inheritdoc/>
    public TrainingReader OpenReader(TrainingReaderOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Check();
        return Sources.Count == 1 ? Sources[0].Data.OpenReader(options) : new MixtureReader(this, options);
    }
}
