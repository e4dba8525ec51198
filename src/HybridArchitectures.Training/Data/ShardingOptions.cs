namespace HybridArchitectures.Training.Data;

/// <summary>Contains the options for writing token shards.</summary>
public sealed record ShardingOptions
{
    /// <summary>
    /// Gets or sets the property of JSON records, or the column of parquet files, that contains the text. Columns inside groups are named with dots.
    /// The default is "text".
    /// </summary>
    public string TextColumn { get; init; } = "text";

    /// <summary>
    /// Gets or sets how the files are read. The default, <see cref="DocumentLayout.Automatic"/>, depends on their names and, for <c>.json</c>, on
    /// their content.
    /// </summary>
    public DocumentLayout Layout { get; init => field = Require.Defined(value, nameof(Layout)); }

    /// <summary>Gets or sets the maximum size of a document, JSON record or uncompressed parquet page in bytes. The default is 256 MiB.</summary>
    public int MaxDocumentBytes { get; init; } = DocumentFileOptions.DefaultMaxDocumentBytes;

    /// <summary>
    /// Gets or sets the maximum Zstandard window in bytes that is allocated for a file. The default is 128 MiB. 2 GiB is enough for every file.
    /// </summary>
    public long MaxZstandardWindow { get; init; } = DocumentFileOptions.DefaultMaxZstandardWindow;

    /// <summary>Gets or sets whether the begin-of-text token of the tokenizer is put before each document. The default is false.</summary>
    public bool BeginOfText { get; init; }

    /// <summary>Gets or sets whether the end-of-text token of the tokenizer is put after each document. The default is false.</summary>
    public bool EndOfText { get; init; }

    /// <summary>
    /// Gets or sets the number of tokens from which a shard is closed after the current document. A worker keeps one shard in memory, with 4 bytes
    /// per token. The default is 2^26.
    /// </summary>
    public int TokensPerShard { get; init; } = 1 << 26;

    /// <summary>Gets or sets the number of files that are read at the same time. The default, 0, means the number of cores.</summary>
    public int Workers { get; init; }

    internal DocumentFileOptions ForFiles => new()
    {
        TextColumn = TextColumn, Layout = Layout, MaxDocumentBytes = MaxDocumentBytes, MaxZstandardWindow = MaxZstandardWindow,
    };

    internal void Check()
    {
        ForFiles.Check();
        Require.InRange(TokensPerShard > 0, nameof(TokensPerShard), TokensPerShard, "at least 1 token");
        Require.AtLeast(Workers, 0);
    }
}
