namespace HybridArchitectures.Evaluation.Benchmarks;

/// <summary>Represents a text whose end is predicted.</summary>
/// <param name="Prompt">The text before the end.</param>
/// <param name="Completion">The end, with the space before it.</param>
public sealed record CompletionItem(string Prompt, string Completion)
{
    /// <summary>Reads LAMBADA (arXiv 1606.06031, <c>EleutherAI/lambada_openai</c>): the column text, whose last word is predicted.</summary>
    /// <param name="path">The path of a JSON lines, JSON or Parquet file.</param>
    /// <exception cref="InvalidDataException">A record has no text of at least two words. The message names the record.</exception>
    public static IReadOnlyList<CompletionItem> ReadLambada(string path) => [.. BenchmarkFile.Read(path).Select(record =>
    {
        string text = record.Text("text");
        int last = text.LastIndexOf(' ');
        return last > 0 && last < text.Length - 1 ? new CompletionItem(text[..last], text[last..])
            : throw record.Unfit("text", "at least two words with a blank between");
    })];

    /// <summary>Reads custom items from the columns prompt and completion. A space is inserted between them.</summary>
    /// <param name="path">The path of a JSON lines, JSON or Parquet file.</param>
    /// <exception cref="InvalidDataException">A record lacks a column. The message names the record.</exception>
    public static IReadOnlyList<CompletionItem> Read(string path) =>
        [.. BenchmarkFile.Read(path).Select(record => new CompletionItem(record.Text("prompt"), " " + record.Text("completion")))];
}
