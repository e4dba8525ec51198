using HybridArchitectures.Tokenization;
using HybridArchitectures.Training.Data;

namespace HybridArchitectures.Cli.Inputs;

/// <summary>Contains tokens for training and for evaluation.</summary>
sealed class TextData : IDisposable
{
    public const string Description =
        "A file or folder of text, JSON lines or Parquet, or 'documentation' for the API documentation of the installed "
        + ".NET.";

    const int NamedOmissions = 3;

    TextData(TokenDataset training, TokenDataset heldOut, Tokenizer tokenizer) => (Training, HeldOut, Tokenizer) = (training, heldOut, tokenizer);

    public TokenDataset Training { get; }

    public TokenDataset HeldOut { get; }

    public Tokenizer Tokenizer { get; }

    /// <summary>Reads text and splits it into training and held-out documents.</summary>
    /// <param name="path">The file or folder, or "documentation".</param>
    /// <param name="tokenizerPath">The file or folder of a tokenizer, or null for bytes.</param>
    /// <param name="heldOutShare">The share of held-out documents.</param>
    public static TextData Load(string path, string? tokenizerPath, double heldOutShare = 0.05)
    {
        Tokenizer tokenizer = tokenizerPath is null ? new ByteTokenizer() : Tokenizer.Load(tokenizerPath);
        var corpus = path == "documentation" ? DocumentationCorpus.Load(heldOutShare) : Corpus(path, heldOutShare);
        return new TextData(TokenDataset.FromDocuments(corpus.Training, tokenizer), TokenDataset.FromDocuments(corpus.HeldOut, tokenizer), tokenizer);
    }

    static TextCorpus Corpus(string path, double heldOutShare)
    {
        if (Directory.Exists(path))
        {
            var corpus = TextCorpus.FromPath(path, heldOutShare);
            if (corpus.Omitted.Count > 0) Console.Error.WriteLine(Omissions(path, corpus.Omitted));
            return corpus;
        }
        if (!File.Exists(path)) throw new FileNotFoundException($"data is '{path}'; expected a file or folder of text, or 'documentation'.", path);
        return Path.GetExtension(path) is ".jsonl" or ".ndjson" or ".json" or ".parquet" or ".gz" or ".zst"
            ? TextCorpus.FromDocuments(path, new DocumentFile(path).Read().Select((text, index) => new TextDocument($"{index}", text)), heldOutShare)
            : TextCorpus.FromPath(path, heldOutShare);
    }

    static string Omissions(string path, IReadOnlyList<OmittedFile> files)
    {
        var named = files.Take(NamedOmissions).Select(file => $"{file.Name} ({file.Reason})");
        string more = files.Count > NamedOmissions ? $" and {files.Count - NamedOmissions} more" : "";
        return $"{path}: {files.Count} {(files.Count == 1 ? "file was" : "files were")} not read: {string.Join(", ", named)}{more}";
    }

    public void Dispose()
    {
        Training.Dispose();
        HeldOut.Dispose();
    }
}
