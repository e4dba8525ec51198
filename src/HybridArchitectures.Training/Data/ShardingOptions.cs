namespace HybridArchitectures.Training;

/// <summary>How files are turned into token shards.</summary>
public sealed record ShardingOptions
{
    /// <summary>The property of JSON lines, or the column of parquet files, that holds the text.</summary>
    public string TextColumn { get; init; } = "text";

    /// <summary>Whether the tokenizer's begin-of-text token stands before each document.</summary>
    public bool BeginOfText { get; init; }

    /// <summary>Whether its end-of-text token stands after each document.</summary>
    public bool EndOfText { get; init; }

    /// <summary>A shard is closed after the document with which it reaches so many tokens. A worker holds one shard in memory, 4 bytes a token.</summary>
    public int TokensPerShard { get; init; } = 1 << 26;

    /// <summary>How many files are read at a time; 0: as many as there are cores.</summary>
    public int Workers { get; init; }

    internal void Check()
    {
        ArgumentException.ThrowIfNullOrEmpty(TextColumn);
        Refuse.Unless(TokensPerShard > 0, TokensPerShard, nameof(TokensPerShard), "at least 1 token");
        Refuse.Unless(Workers >= 0, Workers, nameof(Workers), "at least 0");
    }
}
