using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>
/// Contains the positions of queries and keys, for rows that are not one plain sequence: ragged caches, packed documents, padding. A query sees the
/// keys of its document with 0 &lt;= key position &lt;= query position.
/// </summary>
/// <param name="Query">
/// The positions of queries, shape (B, L), int64, in tokens from the start of the document. A negative number marks padding, which sees nothing.
/// </param>
/// <param name="Key">
/// The positions of keys, shape (B, S), int64, in tokens from the start of the document. A negative number marks an absent key.
/// </param>
/// <param name="QueryDocuments">
/// The documents of queries, shape (B, L), int64, equal within a document. The default, null, means that each row is one document.
/// </param>
/// <param name="KeyDocuments">The documents of keys, shape (B, S), int64. It must be set if and only if <paramref name="QueryDocuments"/> is.</param>
public sealed record AttentionPositions(Tensor Query, Tensor Key, Tensor? QueryDocuments = null, Tensor? KeyDocuments = null)
{
    /// <summary>
    /// Gets, if the keys are ordered by document and position, the first key that each query sees and one past the last, shape (B, L rounded up to
    /// 64, 2), int32. Otherwise null.
    /// </summary>
    internal Tensor? Bounds { get; init; }

    /// <summary>
    /// Returns the positions of packed documents or padded rows whose tokens attend to each other. The CUDA kernels of this library skip what such
    /// positions exclude.
    /// </summary>
    /// <param name="layout">The documents and lengths of the rows.</param>
    /// <param name="device">The device of queries and keys. The default, null, means the CPU.</param>
    /// <returns>Positions whose tensors are in the current dispose scope. They share no memory with <paramref name="layout"/>.</returns>
    /// <exception cref="ArgumentNullException"><paramref name="layout"/> is null.</exception>
    public static AttentionPositions FromLayout(SequenceLayout layout, Device? device = null)
    {
        ArgumentNullException.ThrowIfNull(layout);
        Require.KnownDevice(device);
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var place = device ?? CPU;
        Tensor? On(Tensor? tensor) => tensor?.to(place);
        var columns = Indices.Range(0, layout.Length, place).unsqueeze(0).expand(layout.Batch, layout.Length);
        var begins = On(layout.Starts) is { } starts ? starts.to(ScalarType.Int64).mul(columns).cummax(1).values : zeros_like(columns);
        var (query, ends) = (columns - begins, columns.add(Scalars.One, Scalars.One));
        if (On(layout.Valid) is { } valid)
        {
            var pads = valid.logical_not();
            (query, ends) = (query.masked_fill(pads, Scalars.MinusOne), ends.masked_fill(pads, Scalars.Zero));
        }
        var (key, documents) = (query.clone(), layout.DocumentIds?.to(place, copy: true));
        var bounds = AttentionBounds.Pack(begins, ends);
        return new(query.MoveToOuterDisposeScope(), key.MoveToOuterDisposeScope(), documents?.MoveToOuterDisposeScope(), documents)
        {
            Bounds = bounds.MoveToOuterDisposeScope(),
        };
    }

    internal void Check(Tensor query, Tensor key, string name)
    {
        CheckOne(Query, query, $"{name}.{nameof(Query)}", "one position per query");
        CheckOne(Key, key, $"{name}.{nameof(Key)}", "one position per key");
        if (QueryDocuments is null != KeyDocuments is null)
            throw Require.Unfit(name, $"{name} has documents for {(QueryDocuments is null ? "keys" : "queries")} only", "both or neither");
        if (QueryDocuments is null || KeyDocuments is null) return;
        CheckOne(QueryDocuments, query, $"{name}.{nameof(QueryDocuments)}", "one document per query");
        CheckOne(KeyDocuments, key, $"{name}.{nameof(KeyDocuments)}", "one document per key");
    }

    static void CheckOne(Tensor numbers, Tensor tokens, string name, string meaning)
    {
        Checks.Type(numbers, ScalarType.Int64, name);
        Checks.Shape(numbers, [tokens.size(0), tokens.size(1)], meaning, name);
        Checks.SameDevice(numbers, tokens, "query and key", name);
    }
}
