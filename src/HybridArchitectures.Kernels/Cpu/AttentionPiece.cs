namespace HybridArchitectures.Kernels.Cpu;

/// <summary>A run of neighbouring columns.</summary>
readonly record struct ColumnRange(long First, long Count)
{
    public long End => First + Count;
}

/// <summary>Neighbouring queries, and columns that hold every key they see.</summary>
/// <param name="Row">The row of the batch; null for all rows.</param>
/// <param name="Queries">The columns of the queries.</param>
/// <param name="Keys">The columns of the keys, in ascending order, at least one.</param>
/// <param name="Causal">Whether query i sees exactly the first i + 1 keys, so that no mask is needed.</param>
sealed record AttentionPiece(long? Row, ColumnRange Queries, IReadOnlyList<ColumnRange> Keys, bool Causal)
{
    /// <summary>The number of scores in one row and head.</summary>
    public long Scores => Queries.Count * Keys.Sum(range => range.Count);
}
