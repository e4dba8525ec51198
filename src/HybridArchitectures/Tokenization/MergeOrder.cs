namespace HybridArchitectures.Tokenization;

/// <summary>
/// Whether a file's list of merges says the same as its vocabulary's order. Tokens are found here by rank: of all neighbours that make a token together, those that
/// make the one of the smallest id are merged first. A list of merges does the same if it stands in the order of the ids and no pair it leaves out ever comes about.
/// </summary>
static class MergeOrder
{
    const string NotRanks = "such a tokenizer is not supported: it cannot be read as ranks";

    /// <summary>Refuses merges that would give other tokens than the ranks.</summary>
    /// <param name="list">The list: pairs, or texts with a blank between the halves.</param>
    /// <param name="vocabulary">Spelling to id.</param>
    /// <param name="ignoreMerges">Whether a piece that is a token is taken whole even where merges would not make it.</param>
    /// <exception cref="InvalidDataException">They would.</exception>
    public static void Check(JsonPart list, Dictionary<string, int> vocabulary, bool ignoreMerges)
    {
        var merges = Read(list, vocabulary);
        var spellings = vocabulary.ToDictionary(item => item.Value, item => item.Key);
        foreach (string token in vocabulary.Keys)
        {
            var parts = new int[token.Length];
            bool occurs = true;
            for (int i = 0; i < token.Length; i++) occurs &= vocabulary.TryGetValue(token[i].ToString(), out parts[i]);
            // a byte without a token is one that UTF-8 never uses
            if (!occurs) continue;
            // two tokens come to stand side by side in some text only if they do where nothing else is around them
            int[] merged = merges.Merge(parts);
            if (merged.Length == 2)
                throw list.Bad(
                    $"\"{spellings[merged[0]]}\" and \"{spellings[merged[1]]}\" are never merged though \"{token}\" is a token; {NotRanks}");
            if (!ignoreMerges && merged.Length > 1)
                throw list.Bad($"merges never make the token \"{token}\"; without ignore_merges {NotRanks}");
        }
    }

    static MergeTable Read(JsonPart list, Dictionary<string, int> vocabulary)
    {
        var merges = new MergeTable();
        int previous = -1;
        foreach (var (left, right, whole, part) in TokenizerParts.Merges(list, vocabulary))
        {
            if (!merges.TryAdd(left, right, whole, whole)) throw part.Bad("the merge is given twice");
            if (whole < previous)
                throw part.Bad($"the merge to the token {whole} is out of the vocabulary's order; {NotRanks}");
            previous = whole;
        }
        return merges;
    }
}
