using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>
/// Where queries and keys stand, for rows that are not one plain text: ragged caches, packed documents, padding. A query sees the keys of its own document with
/// 0 &lt;= key position &lt;= query position.
/// </summary>
/// <param name="Query">(B, L) int64 positions in tokens from the start of the query's document; negative for a pad, which then sees nothing.</param>
/// <param name="Key">(B, S) int64 positions in tokens from the start of the key's document; negative for an absent key.</param>
/// <param name="QueryDocuments">(B, L) int64, equal within a document; null where each row is one document.</param>
/// <param name="KeyDocuments">(B, S) int64, given if and only if <paramref name="QueryDocuments"/> is.</param>
public sealed record AttentionPositions(Tensor Query, Tensor Key, Tensor? QueryDocuments = null, Tensor? KeyDocuments = null)
{
    internal void Check(Tensor query, Tensor key, string name)
    {
        CheckOne(Query, query, $"{name}.{nameof(Query)}", "one position per query");
        CheckOne(Key, key, $"{name}.{nameof(Key)}", "one position per key");
        if (QueryDocuments is null != KeyDocuments is null)
            throw new ArgumentException($"{name} has documents for {(QueryDocuments is null ? "keys" : "queries")} only; expected both or neither", name);
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
