namespace HybridArchitectures.Evaluation;

/// <summary>A text whose end is to be predicted.</summary>
/// <param name="Prompt">The text before.</param>
/// <param name="Completion">The end, with the blank before it.</param>
public sealed record CompletionItem(string Prompt, string Completion)
{
    /// <summary>Reads LAMBADA (arXiv 1606.06031, <c>EleutherAI/lambada_openai</c>): the column text, whose last word is predicted.</summary>
    /// <param name="path">JSON lines, a JSON array or parquet.</param>
    /// <exception cref="InvalidDataException">A record has no text of at least two words; the message names it.</exception>
    public static IReadOnlyList<CompletionItem> ReadLambada(string path) => [.. BenchmarkFile.Read(path).Select(record =>
    {
        string text = record.Text("text");
        int last = text.LastIndexOf(' ');
        return last > 0 && last < text.Length - 1 ? new CompletionItem(text[..last], text[last..])
            : throw record.Unfit("text", "at least two words with a blank between");
    })];

    /// <summary>Reads own items: columns prompt and completion. A blank is put between them.</summary>
    /// <param name="path">JSON lines, a JSON array or parquet.</param>
    /// <exception cref="InvalidDataException">A record lacks a column; the message names it.</exception>
    public static IReadOnlyList<CompletionItem> Read(string path) =>
        [.. BenchmarkFile.Read(path).Select(record => new CompletionItem(record.Text("prompt"), " " + record.Text("completion")))];
}
