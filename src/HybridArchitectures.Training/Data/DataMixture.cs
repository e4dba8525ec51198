using System.Diagnostics.CodeAnalysis;
using System.Globalization;

namespace HybridArchitectures.Training;

/// <summary>
/// What a run is trained on: one data set, or several by weight. Row n comes from the source that lies furthest behind its share of n + 1 rows, so that the shares hold at every place in
/// the run to within a row, and the order depends on nothing but the weights; a source that runs out begins its next epoch. The data sets stay the caller's.
/// </summary>
public sealed class DataMixture
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
            if (source.Data.Vocabulary != sources[0].Data.Vocabulary)
                throw new ArgumentException($"source '{source.Name}' has a vocabulary of {source.Data.Vocabulary}; '{sources[0].Name}' has {sources[0].Data.Vocabulary}", nameof(sources));
        }
        Sources = [.. sources];
    }

    /// <summary>A data set alone.</summary>
    [return: NotNullIfNotNull(nameof(data))]
    public static implicit operator DataMixture?(TokenDataset? data) => data is null ? null : new(new MixtureSource(data, 1, "data"));

    /// <summary>The sources.</summary>
    public IReadOnlyList<MixtureSource> Sources { get; }

    /// <summary>One more than the largest id there may be.</summary>
    public int Vocabulary => Sources[0].Data.Vocabulary;

    /// <summary>What a resumed run knows its data by.</summary>
    internal string Description
    {
        get
        {
            static string Of(TokenDataset data) =>
                string.Create(CultureInfo.InvariantCulture, $"{data.Count} tokens of a vocabulary of {data.Vocabulary}, fingerprint {data.Fingerprint:x16}");
            return Sources.Count == 1 ? Of(Sources[0].Data)
                : string.Join("; ", Sources.Select(source => string.Create(CultureInfo.InvariantCulture, $"weight {source.Weight:r}: {Of(source.Data)}")));
        }
    }
}
