namespace HybridArchitectures.Training;

/// <summary>How far the writing of shards is.</summary>
/// <param name="Files">Files that are done.</param>
/// <param name="TotalFiles">Files in all.</param>
/// <param name="Bytes">Bytes of the files that have been read, about.</param>
/// <param name="TotalBytes">Bytes of the files in all.</param>
/// <param name="Documents">Documents in shards and on their way there, those of earlier runs included.</param>
/// <param name="Tokens">Their tokens.</param>
public sealed record ShardingProgress(int Files, int TotalFiles, long Bytes, long TotalBytes, long Documents, long Tokens)
{
    /// <summary>Gets how many half surrogate pairs in the texts were replaced by U+FFFD, those of earlier runs included.</summary>
    public long ReplacedCharacters { get; init; }
}
