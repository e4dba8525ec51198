namespace HybridArchitectures.Tokenization;

/// <summary>
/// Merges neighbouring tokens in a fixed order. Of all pairs that can be merged, the one with the lowest rank is merged first, and of equal ranks the
/// leftmost. A piece of n bytes takes n log n steps.
/// </summary>
sealed class MergeTable
{
    const int Gone = -1;

    readonly Dictionary<ulong, (int Rank, int Whole)> merges;

    /// <summary>Creates a table.</summary>
    /// <param name="capacity">The expected number of merges. The default is 0.</param>
    public MergeTable(int capacity = 0) => merges = new(capacity);

    /// <summary>Adds a merge. Returns false if the pair already has one.</summary>
    public bool TryAdd(int left, int right, int rank, int whole) => merges.TryAdd(Key(left, right), (rank, whole));

    /// <summary>Merges the tokens of a piece.</summary>
    /// <param name="parts">The tokens. The array is overwritten.</param>
    /// <returns>The remaining tokens.</returns>
    public int[] Merge(int[] parts)
    {
        int count = parts.Length;
        if (count < 2) return parts;
        int[] next = new int[count], previous = new int[count];
        for (int i = 0; i < count; i++) (next[i], previous[i]) = (i + 1, i - 1);
        // rank and position in one number
        var candidates = new PriorityQueue<int, ulong>(count);
        for (int start = 0; start + 1 < count; start++) Offer(start);
        int left = count;
        while (candidates.TryDequeue(out int start, out ulong order))
        {
            // one of the two may have been merged with another neighbour already
            if (parts[start] == Gone || next[start] >= count) continue;
            int right = next[start];
            if (!merges.TryGetValue(Key(parts[start], parts[right]), out var merge) || merge.Rank != (int)(order >> 32)) continue;
            parts[start] = merge.Whole;
            parts[right] = Gone;
            next[start] = next[right];
            if (next[right] < count) previous[next[right]] = start;
            left--;
            Offer(start);
            if (start > 0) Offer(previous[start]);
        }
        var result = new int[left];
        for (int start = 0, i = 0; start < count; start = next[start]) result[i++] = parts[start];
        return result;

        void Offer(int start)
        {
            if (next[start] < count && merges.TryGetValue(Key(parts[start], parts[next[start]]), out var merge))
                candidates.Enqueue(start, (ulong)merge.Rank << 32 | (uint)start);
        }
    }

    // the hash of a number is the exclusive or of its halves, which is 0 for every pair of equal tokens; an odd multiplier spreads them
    static ulong Key(int left, int right) => unchecked(((ulong)(uint)left << 32 | (uint)right) * 0x9E3779B97F4A7C15);
}
