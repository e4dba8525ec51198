namespace HybridArchitectures.Training;

/// <summary>How files are turned into token shards.</summary>
public sealed record ShardingOptions
{
    /// <summary>
    /// Gets the property of JSON records, or the column of parquet files, that holds the text. Columns inside groups are named with dots. The default is "text".
    /// </summary>
    public string TextColumn { get; init; } = "text";

    /// <summary>Gets how the files are read. The default, <see cref="DocumentLayout.Automatic"/>, goes by their names and, for <c>.json</c>, their content.</summary>
    public DocumentLayout Layout { get; init; }

    /// <summary>Gets the largest document, JSON record and uncompressed parquet page in bytes. The default is 256 MiB.</summary>
    public int MaxDocumentBytes { get; init; } = DocumentFileOptions.DefaultMaxDocumentBytes;

    /// <summary>Gets the largest Zstandard window in bytes that is allocated for a file. The default is 128 MiB; 2 GiB reads every file.</summary>
    public long MaxZstandardWindow { get; init; } = DocumentFileOptions.DefaultMaxZstandardWindow;

    /// <summary>Whether the tokenizer's begin-of-text token stands before each document.</summary>
    public bool BeginOfText { get; init; }

    /// <summary>Whether its end-of-text token stands after each document.</summary>
    public bool EndOfText { get; init; }

    /// <summary>A shard is closed after the document with which it reaches so many tokens. A worker holds one shard in memory, 4 bytes a token.</summary>
    public int TokensPerShard { get; init; } = 1 << 26;

    /// <summary>How many files are read at a time; 0: as many as there are cores.</summary>
    public int Workers { get; init; }

    internal DocumentFileOptions ForFiles => new()
    {
        TextColumn = TextColumn, Layout = Layout, MaxDocumentBytes = MaxDocumentBytes, MaxZstandardWindow = MaxZstandardWindow,
    };

    internal void Check()
    {
        ForFiles.Check();
        Refuse.Unless(TokensPerShard > 0, TokensPerShard, nameof(TokensPerShard), "at least 1 token");
        Refuse.Unless(Workers >= 0, Workers, nameof(Workers), "at least 0");
    }
}
