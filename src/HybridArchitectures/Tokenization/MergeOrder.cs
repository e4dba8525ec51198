namespace HybridArchitectures.Tokenization;

/// <summary>
/// Whether a file's list of merges says the same as its vocabulary's order. Tokens are found here by rank: of all neighbours that make a token together, those that
/// make the one of the smallest id are merged first. A list of merges does the same if it stands in the order of the ids and no pair it leaves out ever comes about.
/// </summary>
sealed class MergeOrder
{
    readonly Dictionary<string, int> vocabulary;
    readonly HashSet<(int Left, int Right)> merges = [];

    MergeOrder(Dictionary<string, int> vocabulary) => this.vocabulary = vocabulary;

    /// <summary>Refuses merges that would give other tokens than the ranks.</summary>
    /// <param name="list">The list: pairs, or texts with a blank between the halves.</param>
    /// <param name="vocabulary">Spelling to id.</param>
    /// <param name="ignoreMerges">Whether a piece that is a token is taken whole even where merges would not make it.</param>
    /// <exception cref="InvalidDataException">They would.</exception>
    public static void Check(JsonPart list, Dictionary<string, int> vocabulary, bool ignoreMerges)
    {
        var order = new MergeOrder(vocabulary);
        order.Read(list);
        foreach (string token in vocabulary.Keys)
        {
            for (int at = 1; at < token.Length; at++)
                if (order.LeavesOut(token[..at], token[at..]))
                    throw list.Bad($"\"{token[..at]}\" and \"{token[at..]}\" are never merged though \"{token}\" is a token; such a tokenizer is not supported: it cannot be read as ranks");
            if (!ignoreMerges && order.Merge(token).Count > 1)
                throw list.Bad($"merges never make the token \"{token}\"; without ignore_merges such a tokenizer is not supported: it cannot be read as ranks");
        }
    }

    void Read(JsonPart list)
    {
        int previous = -1;
        foreach (var merge in list.Elements())
        {
            string[] halves = merge.IsArray ? [.. merge.Elements().Select(half => half.Text())] : merge.Text().Split(' ');
            if (halves.Length != 2) throw merge.Bad("expected the two halves of a merge");
            if (!vocabulary.TryGetValue(halves[0], out int left) || !vocabulary.TryGetValue(halves[1], out int right) || !vocabulary.TryGetValue(halves[0] + halves[1], out int whole))
                throw merge.Bad($"\"{halves[0]}\", \"{halves[1]}\" or the two together are not in the vocabulary");
            if (!merges.Add((left, right))) throw merge.Bad($"the merge of \"{halves[0]}\" and \"{halves[1]}\" is given twice");
            if (whole < previous) throw merge.Bad($"the merge to \"{halves[0]}{halves[1]}\" is out of the vocabulary's order; such a tokenizer is not supported: it cannot be read as ranks");
            previous = whole;
        }
    }

    // two tokens come to stand side by side in some text only if they do where nothing else is around them
    bool LeavesOut(string left, string right)
    {
        if (!vocabulary.TryGetValue(left, out int leftId) || !vocabulary.TryGetValue(right, out int rightId) || merges.Contains((leftId, rightId))) return false;
        return Merge(left + right) is [var first, _] && first == left;
    }

    List<string> Merge(string text)
    {
        var parts = text.Select(character => character.ToString()).ToList();
        while (parts.Count > 1)
        {
            int best = -1, lowest = int.MaxValue;
            for (int i = 0; i + 1 < parts.Count; i++)
                if (vocabulary.TryGetValue(parts[i] + parts[i + 1], out int id) && id < lowest && merges.Contains((vocabulary[parts[i]], vocabulary[parts[i + 1]]))) (best, lowest) = (i, id);
            if (best < 0) break;
            parts[best] += parts[best + 1];
            parts.RemoveAt(best + 1);
        }
        return parts;
    }
}
