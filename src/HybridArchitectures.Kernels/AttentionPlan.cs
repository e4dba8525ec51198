using System.Runtime.CompilerServices;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>
/// Divides attention into pieces whose scores need little memory.
/// <list type="number">
/// <item>Neighbouring tokens of one document whose positions increase by 1 form a run.</item>
/// <item>A run of queries without a window, together with a run of keys with the same positions, is one causal piece of any length.</item>
/// <item>Other runs are divided into blocks. The keys of a block are those from the window of its first query to its last query, and the
/// sinks.</item>
/// <item>Short neighbouring blocks become one piece. A mask hides the keys that their queries do not see.</item>
/// <item>There is no plan if the pieces would cost more than one call with a mask over all scores, and that mask is small.</item>
/// </list>
/// </summary>
static class AttentionPlan
{
    const long MinBlock = 128, MaxBlock = 512, MinCausal = 64, MinStoredBlock = 8;
    const long MaxMask = 1L << 24;              // maximum number of scores of one mask
    const long MaxRuns = 1024;                  // maximum number of key runs in a row; with more, every block gets all keys

    // the number of multiply-adds that take as long as the overhead of one piece: on the CPU, and launches on a GPU
    const long PieceCost = 15_000_000, PieceCostOnDevice = 1_000_000_000;

    static readonly ConditionalWeakTable<Tensor, HostCopy> HostCopies = [];

    /// <summary>Returns the pieces, which together contain every query that sees a key. Returns null if one call is as good.</summary>
    public static IReadOnlyList<AttentionPiece>? Create(Tensor query, Tensor key, int? window, int sinks, AttentionPositions? positions)
    {
        var (batch, queries, keys) = (query.size(0), query.size(1), key.size(1));
        if (window >= keys && positions is null) window = null;
        if (queries == 1 || (positions is null && window is null && queries == keys)) return null;
        var call = new WholeCall(batch, batch * queries * keys, query.size(2) * 2 * query.size(3),
            positions is null ? queries * keys : batch * queries * keys, query.device_type == TorchSharp.DeviceType.CPU);
        if (call.IsShort) return null;
        var pieces = Pieces(query, key, window, sinks, positions, BlockSize(window, keys));
        return call.CostsMoreThan(pieces) ? pieces : null;
    }

    /// <summary>Returns whether one call with a mask computes attention over rows of one document.</summary>
    /// <param name="batch">The number of rows.</param>
    /// <param name="length">The number of queries and keys of a row.</param>
    /// <param name="heads">The number of query heads.</param>
    /// <param name="headSize">The number of channels of a head.</param>
    /// <param name="window">The window, less than <paramref name="length"/>.</param>
    /// <param name="sinks">The number of first tokens that are also visible.</param>
    /// <param name="onCpu">Whether the rows are in main memory.</param>
    public static bool HasMask(long batch, long length, long heads, long headSize, int window, int sinks, bool onCpu)
    {
        var call = new WholeCall(batch, batch * length * length, heads * 2 * headSize, length * length, onCpu);
        return call.IsShort || !call.CostsMoreThan(Plain(length, length, window, sinks, BlockSize(window, length)));
    }

    // one call: its scores, the multiply-adds of a score, and the scores of its mask
    readonly record struct WholeCall(long Batch, long Scores, long PerScore, long Mask, bool OnCpu)
    {
        long PieceCost => OnCpu ? AttentionPlan.PieceCost : PieceCostOnDevice;

        public bool IsShort => Scores * PerScore < PieceCost && Scores <= MaxMask;

        public bool CostsMoreThan(IReadOnlyList<AttentionPiece> pieces)
        {
            long batch = Batch, scores = pieces.Sum(piece => piece.Scores * (piece.Row is null ? batch : 1));
            return (Scores - scores) * PerScore > pieces.Count * PieceCost || Mask > MaxMask;
        }
    }

    /// <summary>
    /// Returns the pieces for operators that store the scores of a piece, so that one row and the heads of one key have at most about
    /// <paramref name="maxScores"/>. No piece is causal.
    /// </summary>
    public static IReadOnlyList<AttentionPiece> ForScores(Tensor query, Tensor key, int? window, int sinks, AttentionPositions? positions,
        long maxScores)
    {
        long keys = Math.Min(key.size(1), (window ?? key.size(1)) + MaxBlock), heads = query.size(2) / key.size(2);
        long block = Math.Clamp(maxScores / Math.Max(1, heads * keys), MinStoredBlock, MaxBlock);
        return Pieces(query, key, window, sinks, positions, block, causal: false);
    }

    /// <summary>Returns the pieces, with blocks of <paramref name="block"/> queries, and with or without causal pieces of any length.</summary>
    public static IReadOnlyList<AttentionPiece> Pieces(Tensor query, Tensor key, int? window, int sinks, AttentionPositions? positions, long block,
        bool causal = true) =>
        positions is null ? Plain(query.size(1), key.size(1), window, sinks, block)
            : OfRows(query, key, window, sinks, positions, (block, causal));

    static long BlockSize(int? window, long keys)
    {
        long wanted = window is { } width ? (width + 63) / 64 * 64 : MaxBlock / 2;
        return Math.Clamp(Math.Min(wanted, MaxMask / Math.Max(1, Math.Min(keys, (window ?? keys) + MaxBlock))), MinBlock, MaxBlock);
    }

    // each row is one sequence, and the last query is at the last key
    static List<AttentionPiece> Plain(long queries, long keys, int? window, int sinks, long size)
    {
        var run = new Run(0, queries, keys - queries);
        var pieces = new List<AttentionPiece>();
        foreach (var block in Blocks(run, size))
            pieces.Add(new(null, new(block.First, block.Count), Merged(Seen(block, new(0, keys, 0), window, sinks)), false));
        return pieces;
    }

    static List<AttentionPiece> OfRows(Tensor queryTensor, Tensor keyTensor, int? window, int sinks, AttentionPositions positions,
        (long Size, bool Causal) block)
    {
        var (batch, queries, keys) = (queryTensor.size(0), queryTensor.size(1), keyTensor.size(1));
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var (query, key) = (Host(positions.Query), Host(positions.Key));
        var (queryDocuments, keyDocuments) = (positions.QueryDocuments is { } q ? Host(q) : null, positions.KeyDocuments is { } k ? Host(k) : null);
        var pieces = new List<AttentionPiece>();
        for (long row = 0; row < batch; row++)
        {
            var queryRuns = Runs(Row(query, row, queries), Row(queryDocuments, row, queries));
            var keyRuns = Runs(Row(key, row, keys), Row(keyDocuments, row, keys));
            pieces.AddRange(new RowPlan(row, block, window, sinks, keys).Pieces(queryRuns, keyRuns));
        }
        return pieces;
    }

    // all layers of a model read the same positions, and reading from a GPU waits for it
    static long[] Host(Tensor numbers)
    {
        if (numbers.device_type == TorchSharp.DeviceType.CPU) return TensorMemory.ToArray<long>(numbers);
        long version = TorchOperator.CallInteger("aten::_version", "", numbers);
        if (HostCopies.TryGetValue(numbers, out var known) && known.Version == version) return known.Numbers;
        var copy = new HostCopy(version, TensorMemory.ToArray<long>(numbers.cpu()));
        HostCopies.AddOrUpdate(numbers, copy);
        return copy.Numbers;
    }

    sealed record HostCopy(long Version, long[] Numbers);

    static ReadOnlySpan<long> Row(long[]? numbers, long row, long columns) =>
        numbers is null ? [] : numbers.AsSpan((int)(row * columns), (int)columns);

    // columns of one document with positions that increase by 1; absent tokens belong to no run
    static List<(long Document, Run Run)> Runs(ReadOnlySpan<long> positions, ReadOnlySpan<long> documents)
    {
        var runs = new List<(long, Run)>();
        for (int first = 0, end; first < positions.Length; first = end)
        {
            for (end = first + 1; end < positions.Length && positions[end] == positions[end - 1] + 1
                && Document(documents, end) == Document(documents, first);) end++;
            if (positions[first] < 0)
            {
                end = first + 1;
                continue;
            }
            runs.Add((Document(documents, first), new(first, end - first, positions[first])));
        }
        return runs;
    }

    static long Document(ReadOnlySpan<long> documents, int column) => documents.IsEmpty ? 0 : documents[column];

    static IEnumerable<Run> Blocks(Run run, long size)
    {
        for (long done = 0; done < run.Count; done += size) yield return new(run.First + done, Math.Min(size, run.Count - done), run.Position + done);
    }

    // the columns of a run of keys that at least one of the queries sees
    static IEnumerable<ColumnRange> Seen(Run queries, Run keys, int? window, int sinks)
    {
        long end = Math.Min(keys.Position + keys.Count, queries.Position + queries.Count);
        long begin = window is { } width ? Math.Max(keys.Position, queries.Position - width + 1) : keys.Position;
        if (Math.Min(end, sinks) is var sinkEnd && window is not null && sinkEnd > keys.Position)
            yield return new(keys.First, sinkEnd - keys.Position);
        if (end > begin) yield return new(keys.First + begin - keys.Position, end - begin);
    }

    static List<ColumnRange> Merged(IEnumerable<ColumnRange> ranges)
    {
        var merged = new List<ColumnRange>();
        foreach (var range in ranges.OrderBy(range => range.First))
        {
            if (merged.Count > 0 && merged[^1].End >= range.First)
                merged[^1] = merged[^1] with { Count = Math.Max(merged[^1].End, range.End) - merged[^1].First };
            else merged.Add(range);
        }
        return merged;
    }

    /// <summary>Represents columns whose positions increase by 1 from <paramref name="Position"/>.</summary>
    readonly record struct Run(long First, long Count, long Position);

    sealed class RowPlan(long row, (long Size, bool Causal) block, int? window, int sinks, long keys)
    {
        readonly List<AttentionPiece> pieces = [];

        public List<AttentionPiece> Pieces(List<(long Document, Run Run)> queries, List<(long Document, Run Run)> keyRuns)
        {
            var byDocument = keyRuns.Count > MaxRuns ? null : keyRuns.ToLookup(item => item.Document, item => item.Run);
            foreach (var (document, run) in queries)
            {
                var seen = byDocument?[document].ToArray();
                var rest = block.Causal && seen is [var only] ? AddCausal(run, only) : run;
                foreach (var part in Blocks(rest, block.Size))
                    Add(new(part.First, part.Count), seen is null ? [new(0, keys)]
                        : Merged(seen.SelectMany(other => Seen(part, other, window, sinks))));
            }
            return pieces;
        }

        // queries over keys with the same positions are one piece; the rest, padding after the last key, remains
        Run AddCausal(Run queries, Run others)
        {
            long count = Math.Min(queries.Count, others.Count);
            if (queries.Position != others.Position || count < MinCausal || window < count) return queries;
            pieces.Add(new(row, new(queries.First, count), [new(others.First, count)], true));
            return new(queries.First + count, queries.Count - count, queries.Position + count);
        }

        void Add(ColumnRange queries, List<ColumnRange> ranges)
        {
            if (queries.Count == 0 || ranges.Count == 0) return;
            if (pieces.Count > 0 && pieces[^1] is { Causal: false } last && last.Queries.End == queries.First
                && last.Queries.Count + queries.Count <= block.Size)
                pieces[^1] = last with { Queries = last.Queries with { Count = last.Queries.Count + queries.Count },
                    Keys = Merged(last.Keys.Concat(ranges)) };
            else pieces.Add(new(row, queries, ranges, false));
        }
    }
}
