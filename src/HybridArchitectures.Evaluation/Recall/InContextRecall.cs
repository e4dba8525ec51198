using HybridArchitectures.Training.Data;

namespace HybridArchitectures.Evaluation.Recall;

/// <summary>
/// Creates rows of in-context recall and noisy in-context recall of MAD (arXiv 2403.17844): a sequence of key-value pairs, in which a key always has
/// the same value within the row. The value of the last key, which occurred before, is predicted. With noise, some pairs are
/// replaced by pairs of noise tokens.
/// </summary>
/// <remarks>
/// As in the published generator, every token of training rows is a target. The targets of test rows are the values of keys that occurred before (the
/// multi-query form) or, if <see cref="MultiQuery"/> is false, only the last value, after a copy token.
/// </remarks>
public sealed record InContextRecall : SyntheticTask
{
    /// <inheritdoc/>
    public override string Name => NoiseShare > 0 ? "noisy in-context recall" : "in-context recall";

    /// <inheritdoc/>
    public override int RequiredVocabularySize => VocabularySize;

    /// <summary>Gets or sets the size of the vocabulary, including noise tokens. The default value is 16. The noisy task of MAD has 32.</summary>
    public int VocabularySize { get; init; } = 16;

    /// <summary>Gets or sets the number of positions per row, an even number. The default value is 128.</summary>
    public override int Length { get; init; } = 128;

    /// <summary>Gets or sets the number of noise tokens in the vocabulary. The default value is 0. The noisy task of MAD has 16.</summary>
    public int NoiseVocabulary { get; init; }

    /// <summary>Gets or sets the probability that a pair is noise, in [0, 1). The default value is 0. The noisy task of MAD has 0.2.</summary>
    public double NoiseShare { get; init; }

    /// <summary>Gets or sets whether every repeated key is a query. The default value is true.</summary>
    public bool MultiQuery { get; init; } = true;

    /// <summary>Gets the noisy in-context recall of MAD with its published sizes.</summary>
    public static InContextRecall Noisy { get; } = new() { VocabularySize = 32, NoiseVocabulary = 16, NoiseShare = 0.2 };

    int PlainVocabulary => VocabularySize - NoiseVocabulary - (MultiQuery ? 0 : 1);

    /// <inheritdoc/>
    public override void Check()
    {
        Require.Size(Length);
        Require.Size(VocabularySize);
        Require.InRange(Length >= 4 && Length % 2 == 0, nameof(Length), Length, "an even number from 4");
        Require.InRange(NoiseVocabulary >= 0 && NoiseVocabulary < VocabularySize, nameof(NoiseVocabulary), NoiseVocabulary,
            $"0 to {VocabularySize - 1}, fewer than {nameof(VocabularySize)}");
        Require.InRange(NoiseShare is >= 0 and < 1 && (NoiseShare == 0 || NoiseVocabulary > 0), nameof(NoiseShare), NoiseShare,
            "0, or below 1 with noise tokens");
        Require.InRange(PlainVocabulary >= 2, nameof(VocabularySize), VocabularySize,
            $"at least {VocabularySize - PlainVocabulary + 2}, with noise tokens");
    }

    /// <inheritdoc/>
    protected override void Fill(SeededRandom random, TrainingRow row, bool isTraining)
    {
        int keys = PlainVocabulary / 2, pairs = Length / 2;
        var values = new Dictionary<int, int>();
        var (tokens, isAsked) = (new List<int>(), new List<bool>());
        void Add(int token, bool asked)
        {
            tokens.Add(token);
            isAsked.Add(asked);
        }
        int certain = random.Next(pairs - 1);      // at least one pair is not noise
        for (int i = 0; i < pairs - 1; i++)
        {
            if (i != certain && NoiseShare > 0 && random.NextDouble() < NoiseShare)
            {
                for (int j = 0; j < 2; j++) Add(PlainVocabulary + random.Next(NoiseVocabulary), false);
                continue;
            }
            int key = random.Next(keys);
            bool isKnown = values.TryGetValue(key, out int value);
            if (!isKnown) values[key] = value = keys + random.Next(PlainVocabulary - keys);
            Add(key, false);
            Add(value, MultiQuery && isKnown);
        }
        if (!MultiQuery) Add(VocabularySize - 1, false);
        int probe = values.Keys.Order().ElementAt(random.Next(values.Count));
        Add(probe, false);
        Add(values[probe], true);
        // the multi-query form has no token after the last position, which predicts nothing
        for (int i = 0; i < Length; i++)
        {
            row.Ids[i] = tokens[i];
            if (i + 1 < tokens.Count && (isTraining || isAsked[i + 1])) row.Targets[i] = tokens[i + 1];
        }
    }
}
