using HybridArchitectures.Tokenization;
using HybridArchitectures.Training.Data;

namespace HybridArchitectures.Experiments;

/// <summary>Contains the tokenizer and the tokens of the study.</summary>
sealed class StudyData : IDisposable
{
    const string TokenizerName = "tokenizer", TrainingName = "training", HeldOutName = "held-out";
    const int HaystackTokens = 60_000, TinyDocuments = 60;

    StudyData(Tokenizer tokenizer, TokenDataset training, TokenDataset heldOut) =>
        (Tokenizer, Training, HeldOut) = (tokenizer, training, heldOut);

    /// <summary>Gets the tokenizer.</summary>
    public Tokenizer Tokenizer { get; }

    /// <summary>Gets the training tokens.</summary>
    public TokenDataset Training { get; }

    /// <summary>Gets the held-out tokens.</summary>
    public TokenDataset HeldOut { get; }

    /// <summary>Gets the start of the held-out text, in which needles are hidden.</summary>
    public string Haystack
    {
        get
        {
            var ids = new long[Math.Min(HaystackTokens, HeldOut.Count)];
            HeldOut.CopyTo(0, ids);
            return Tokenizer.Decode([.. ids.Select(id => (int)id)]);
        }
    }

    /// <summary>Opens the folder that <see cref="Write"/> wrote.</summary>
    public static StudyData Open(string folder) => new(Tokenizer.Load(Path.Combine(folder, TokenizerName)),
        TokenShards.Open(Path.Combine(folder, TrainingName)), TokenShards.Open(Path.Combine(folder, HeldOutName)));

    /// <summary>Tokenizes a part of the documentation of the .NET class library, to check the chain without the corpus.</summary>
    /// <param name="tokenizer">The folder of the tokenizer.</param>
    public static StudyData OpenTiny(string tokenizer)
    {
        var loaded = Tokenizer.Load(tokenizer);
        var corpus = DocumentationCorpus.Load();
        TokenDataset Tokens(IEnumerable<TextDocument> documents) =>
            TokenDataset.FromDocuments(documents.Take(TinyDocuments), loaded, endOfText: true);
        return new(loaded, Tokens(corpus.Training), Tokens(corpus.HeldOut));
    }

    /// <summary>Writes the corpus as token shards, with the tokenizer.</summary>
    /// <param name="corpus">The folder with <c>training/*.jsonl</c> and <c>held-out/*.jsonl</c>.</param>
    /// <param name="tokenizer">The folder of the tokenizer.</param>
    /// <param name="folder">The folder to write.</param>
    public static void Write(string corpus, string tokenizer, string folder)
    {
        var loaded = Tokenizer.Load(tokenizer);
        string copies = Path.Combine(folder, TokenizerName);
        Directory.CreateDirectory(copies);
        foreach (string file in Directory.GetFiles(tokenizer)) File.Copy(file, Path.Combine(copies, Path.GetFileName(file)), overwrite: true);
        foreach (string split in (string[])[TrainingName, HeldOutName])
        {
            string[] files = [.. Directory.GetFiles(Path.Combine(corpus, split), "*.jsonl").Order(StringComparer.Ordinal)];
            TokenShards.Write(files, Path.Combine(folder, split), loaded, new ShardingOptions { EndOfText = true });
            using var tokens = TokenShards.Open(Path.Combine(folder, split));
            Console.WriteLine(FormattableString.Invariant($"{split}: {tokens.Count:N0} tokens in {tokens.DocumentStarts.Count:N0} documents"));
        }
    }

    /// <summary>Disposes the tokens.</summary>
    public void Dispose()
    {
        Training.Dispose();
        HeldOut.Dispose();
    }
}
