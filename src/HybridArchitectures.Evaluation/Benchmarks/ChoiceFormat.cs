namespace HybridArchitectures.Evaluation;

/// <summary>How a benchmark's records become questions. The built-in ones are in <see cref="ChoiceFormats"/>.</summary>
/// <param name="Name">The benchmark's name.</param>
/// <param name="Source">Where the data and the prompt form come from.</param>
/// <param name="MainMetric">The metric that papers report: <c>accuracy</c> or <c>accuracy by characters</c>.</param>
/// <param name="Convert">A record's question.</param>
public sealed record ChoiceFormat(string Name, string Source, string MainMetric, Func<BenchmarkRecord, ChoiceQuestion> Convert)
{
    /// <summary>Reads the questions of a local file.</summary>
    /// <param name="path">JSON lines, a JSON array or parquet, in the columns of the benchmark's Hugging Face files.</param>
    /// <exception cref="InvalidDataException">A record lacks a column or has an unfit value; the message names the file, the record and the
    /// column.</exception>
    public IReadOnlyList<ChoiceQuestion> Read(string path) => [.. BenchmarkFile.Read(path).Select(Convert)];
}
