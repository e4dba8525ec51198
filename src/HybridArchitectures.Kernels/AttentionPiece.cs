using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>Represents neighbouring queries, and columns that contain every key that they see.</summary>
/// <param name="Row">The row of the batch. Null means all rows.</param>
/// <param name="Queries">The columns of the queries.</param>
/// <param name="Keys">The columns of the keys, ascending, at least one.</param>
/// <param name="Causal">Whether query i sees exactly the first i + 1 keys, so that no mask is needed.</param>
sealed record AttentionPiece(long? Row, ColumnRange Queries, IReadOnlyList<ColumnRange> Keys, bool Causal)
{
    /// <summary>Gets the number of scores in one row and head.</summary>
    public long Scores => Queries.Count * Keys.Sum(range => range.Count);

    Tensor Rows(Tensor x) => Row is { } row ? x.narrow(0, row, 1) : x;

    /// <summary>Returns the part of x, (batch, queries, ...), that belongs to the queries, as a view.</summary>
    public Tensor QueriesOf(Tensor x) => Rows(x).narrow(1, Queries.First, Queries.Count);

    /// <summary>Returns the part of x, (batch, keys, ...), that belongs to the keys. It is a copy if there are several ranges.</summary>
    public Tensor KeysOf(Tensor x)
    {
        var rows = Rows(x);
        var parts = Keys.Select(range => rows.narrow(1, range.First, range.Count)).ToArray();
        return parts is [var only] ? only : cat(parts, 1);
    }

    /// <summary>Adds a gradient of <see cref="KeysOf"/> to a sum, (batch, keys, ...).</summary>
    public void AddToKeys(Tensor sum, Tensor gradient)
    {
        long first = 0;
        foreach (var range in Keys)
        {
            Rows(sum).narrow(1, range.First, range.Count).add_(gradient.narrow(1, first, range.Count), Scalars.One);
            first += range.Count;
        }
    }

    /// <summary>Returns the positions of the queries and keys of the piece.</summary>
    /// <param name="positions">The positions of all queries and keys. Null means that each row is one sequence whose last query is at the last
    /// key.</param>
    /// <param name="shift">The number of keys before the first query if there are no positions.</param>
    /// <param name="device">The device of queries and keys.</param>
    public AttentionPositions PositionsOf(AttentionPositions? positions, long shift, Device device)
    {
        if (positions is null)
            return new(Indices.Range(shift + Queries.First, Queries.Count, device).unsqueeze(0),
                cat([.. Keys.Select(range => Indices.Range(range.First, range.Count, device))], 0).unsqueeze(0));
        return new(QueriesOf(positions.Query), KeysOf(positions.Key), positions.QueryDocuments is { } queries ? QueriesOf(queries) : null,
            positions.KeyDocuments is { } keys ? KeysOf(keys) : null);
    }
}
