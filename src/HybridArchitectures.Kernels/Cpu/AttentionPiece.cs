namespace HybridArchitectures.Kernels.Cpu;

/// <summary>Represents a range of neighbouring columns.</summary>
readonly record struct ColumnRange(long First, long Count)
{
    public long End => First + Count;
}

/// <summary>Represents neighbouring queries, and columns that contain every key that they see.</summary>
/// <param name="Row">The row of the batch. Null means all rows.</param>
/// <param name="Queries">The columns of the queries.</param>
/// <param name="Keys">The columns of the keys, ascending, at least one.</param>
/// <param name="Causal">Whether query i sees exactly the first i + 1 keys, so that no mask is needed.</param>
sealed record AttentionPiece(long? Row, ColumnRange Queries, IReadOnlyList<ColumnRange> Keys, bool Causal)
{
    /// <summary>Gets the number of scores in one row and head.</summary>
    public long Scores => Queries.Count * Keys.Sum(range => range.Count);
}
