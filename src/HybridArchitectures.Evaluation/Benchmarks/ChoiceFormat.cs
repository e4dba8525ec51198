namespace HybridArchitectures.Evaluation.Benchmarks;

/// <summary>Describes how the records of a benchmark become questions. The built-in formats are in <see cref="ChoiceFormats"/>.</summary>
/// <param name="Name">The name of the benchmark.</param>
/// <param name="Source">The source of the data and the prompt form.</param>
/// <param name="MainMetric">The metric that papers report: <c>accuracy</c> or <c>accuracy by characters</c>.</param>
/// <param name="Convert">Converts a record to a question.</param>
public sealed record ChoiceFormat(string Name, string Source, string MainMetric, Func<BenchmarkRecord, ChoiceQuestion> Convert)
{
    /// <summary>Reads questions from a local file.</summary>
    /// <param name="path">The path of a JSON lines, JSON or Parquet file with the columns of the benchmark's Hugging Face files.</param>
    /// <exception cref="InvalidDataException">A record lacks a column or has an unfit value; the message names the file, the record and the
    /// column.</exception>
    public IReadOnlyList<ChoiceQuestion> Read(string path) => [.. BenchmarkFile.Read(path).Select(Convert)];
}
