using System.Text;

namespace HybridArchitectures.Tokenization;

/// <summary>
/// Merges one piece by ranks in n log n steps. Of all neighbours that form a token, those with the lowest rank are merged first, and of equal ranks
/// the leftmost. The tokenizers package returns the same result in n squared steps. That is faster for words, but not usable for a text of a million
/// letters without a space.
/// </summary>
sealed class LongPieceEncoder
{
    readonly Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> idOf;
    readonly int maxLength;

    /// <summary>Creates an encoder.</summary>
    /// <param name="tokens">The bytes of the tokens by rank. Null where there is no token.</param>
    public LongPieceEncoder(byte[]?[] tokens)
    {
        var ids = new Dictionary<string, int>(StringComparer.Ordinal);
        for (int id = 0; id < tokens.Length; id++)
        {
            if (tokens[id] is not { } bytes) continue;
            ids.Add(ByteAlphabet.Spell(bytes), id);
            maxLength = Math.Max(maxLength, bytes.Length);
        }
        idOf = ids.GetAlternateLookup<ReadOnlySpan<char>>();
    }

    /// <summary>Appends the tokens of a piece that is not a token as a whole.</summary>
    public void Encode(ReadOnlySpan<char> piece, List<int> ids)
    {
        var utf8 = new byte[Encoding.UTF8.GetByteCount(piece)];
        Encoding.UTF8.GetBytes(piece, utf8);
        string text = ByteAlphabet.Spell(utf8);
        int count = text.Length;
        // part i spans the characters i to next[i]; next[i] is 0 where no part begins
        int[] next = [.. Enumerable.Range(1, count)], previous = [.. Enumerable.Range(-1, count)];
        // rank and position in one number
        var candidates = new PriorityQueue<(int Start, int End), ulong>(count);
        for (int start = 0; start < count; start++) Offer(start);
        while (candidates.TryDequeue(out var pair, out _))
        {
            int middle = next[pair.Start];
            // one of the two may have been merged with another neighbour already
            if (middle == 0 || middle >= count || next[middle] != pair.End) continue;
            next[pair.Start] = pair.End;
            next[middle] = 0;
            if (pair.End < count) previous[pair.End] = pair.Start;
            Offer(pair.Start);
            if (pair.Start > 0) Offer(previous[pair.Start]);
        }
        for (int start = 0; start < count; start = next[start]) ids.Add(idOf[text.AsSpan(start, next[start] - start)]);

        void Offer(int start)
        {
            int middle = next[start];
            if (middle >= count) return;
            int end = next[middle];
            if (end - start <= maxLength && idOf.TryGetValue(text.AsSpan(start, end - start), out int rank))
                candidates.Enqueue((start, end), (ulong)rank << 32 | (uint)start);
        }
    }
}
