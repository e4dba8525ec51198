namespace HybridArchitectures.Tokenization;

/// <summary>
/// Checks whether the list of merges of a file agrees with the order of its vocabulary. Tokens are found by rank here: of all neighbours that form a
/// token, those with the smallest id are merged first. A list of merges gives the same result if it is in the order of the ids and no missing pair
/// ever occurs.
/// </summary>
static class MergeOrder
{
    const string NotRanks = "such a tokenizer is not supported: it cannot be read as ranks";

    /// <summary>Refuses merges that would produce other tokens than the ranks.</summary>
    /// <param name="list">The list: pairs, or texts with a space between the two halves.</param>
    /// <param name="vocabulary">Maps spellings to ids.</param>
    /// <param name="ignoreMerges">Whether a piece that is a token becomes that token even if the merges do not form it.</param>
    /// <exception cref="InvalidDataException">The merges would produce other tokens.</exception>
    public static void Check(JsonPart list, Dictionary<string, int> vocabulary, bool ignoreMerges)
    {
        var merges = Read(list, vocabulary);
        var spellings = vocabulary.ToDictionary(item => item.Value, item => item.Key);
        foreach (string token in vocabulary.Keys)
        {
            var parts = new int[token.Length];
            bool occurs = true;
            for (int i = 0; i < token.Length; i++) occurs &= vocabulary.TryGetValue(token[i].ToString(), out parts[i]);
            // UTF-8 never uses a byte without a token
            if (!occurs) continue;
            // if two tokens become neighbours in any text, they also do without any text around them
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
            if (!merges.TryAdd(left, right, whole, whole)) throw part.Bad("the merge occurs twice");
            if (whole < previous)
                throw part.Bad($"the merge to the token {whole} is out of the vocabulary's order; {NotRanks}");
            previous = whole;
        }
        return merges;
    }
}
