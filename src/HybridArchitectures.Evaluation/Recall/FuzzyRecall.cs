using HybridArchitectures.Training.Data;

namespace HybridArchitectures.Evaluation.Recall;

/// <summary>
/// Creates rows of fuzzy in-context recall of MAD (arXiv 2403.17844): like <see cref="InContextRecall"/>, but keys and values are runs of 1 to 3
/// different tokens. In test rows, every key has the full length. A row ends with an earlier key and its value, and begins with padding.
/// </summary>
public sealed record FuzzyRecall : SyntheticTask
{
    /// <inheritdoc/>
    public override string Name => "fuzzy in-context recall";

    /// <inheritdoc/>
    public override int RequiredVocabularySize => VocabularySize;

    /// <summary>Gets or sets the size of the vocabulary, including one padding token. The default value is 16.</summary>
    public int VocabularySize { get; init; } = 16;

    /// <summary>Gets or sets the number of positions per row. The default value is 128.</summary>
    public override int Length { get; init; } = 128;

    /// <summary>Gets or sets the maximum number of tokens of a key. The default value is 3.</summary>
    public int KeyLength { get; init; } = 3;

    /// <summary>Gets or sets the maximum number of tokens of a value. The default value is 3.</summary>
    public int ValueLength { get; init; } = 3;

    int Plain => VocabularySize - 1;

    /// <inheritdoc/>
    public override void Check()
    {
        Require.Size(Length);
        Require.Size(VocabularySize);
        Require.InRange(KeyLength >= 1 && KeyLength <= Plain / 2, nameof(KeyLength), KeyLength, $"1 to {Plain / 2}, the number of key tokens");
        Require.InRange(ValueLength >= 1 && ValueLength <= Plain - Plain / 2, nameof(ValueLength), ValueLength,
            $"1 to {Plain - Plain / 2}, the number of value tokens");
        Require.InRange(Length > 3 * (KeyLength + ValueLength), nameof(Length), Length, $"more than {3 * (KeyLength + ValueLength)}");
    }

    /// <inheritdoc/>
    protected override void Fill(SeededRandom random, TrainingRow row, bool isTraining)
    {
        int[] Key() => random.Sample(isTraining ? random.Next(1, KeyLength + 1) : KeyLength, Plain / 2);
        int[] Value() => [.. random.Sample(random.Next(1, ValueLength + 1), Plain - Plain / 2).Select(id => id + Plain / 2)];
        var values = new Dictionary<string, int[]>();
        var (tokens, isAsked) = (new List<int>(), new List<bool>());
        void Add(int[] ids, bool asked)
        {
            tokens.AddRange(ids);
            isAsked.AddRange(Enumerable.Repeat(asked, ids.Length));
        }
        void AddPair(int[] key, int[]? value = null)
        {
            string name = string.Join(' ', key);
            bool isKnown = values.ContainsKey(name);
            if (!isKnown) values[name] = value ?? Value();
            Add(key, false);
            Add(values[name], isKnown);
        }
        var (probe, answer) = (Key(), Value());
        int pair = probe.Length + answer.Length, maxPair = KeyLength + ValueLength, end = Length - pair - maxPair;
        int position = random.Next(end - maxPair);
        bool isPlaced = false;
        while (tokens.Count < end)
        {
            bool isDue = !isPlaced && tokens.Count >= position;
            var key = isDue ? probe : Key();
            isPlaced |= key.SequenceEqual(probe);
            AddPair(key, key.SequenceEqual(probe) ? answer : null);
        }
        AddPair(probe);
        int padding = Length + 1 - tokens.Count;
        for (int i = 0; i < Length; i++)
        {
            int at = i - padding;
            row.Ids[i] = at < 0 ? VocabularySize - 1 : tokens[at];
            if (at + 1 >= 0 && (isTraining || isAsked[at + 1])) row.Targets[i] = tokens[at + 1];
        }
    }
}
