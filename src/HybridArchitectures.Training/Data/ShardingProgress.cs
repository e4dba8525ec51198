namespace HybridArchitectures.Training.Data;

/// <summary>Contains the progress of writing shards.</summary>
/// <param name="Files">The number of completed files.</param>
/// <param name="TotalFiles">The number of all files.</param>
/// <param name="Bytes">The approximate number of bytes of the files that have been read.</param>
/// <param name="TotalBytes">The number of bytes of all files.</param>
/// <param name="Documents">The number of documents that have been read, including those of earlier runs.</param>
/// <param name="Tokens">The number of their tokens.</param>
public sealed record ShardingProgress(int Files, int TotalFiles, long Bytes, long TotalBytes, long Documents, long Tokens)
{
    /// <summary>Gets or sets the number of unpaired surrogates that were replaced by U+FFFD, including those of earlier runs.</summary>
    public long ReplacedCharacters { get; init; }
}
