using HybridArchitectures.Training.Data;

namespace HybridArchitectures.Evaluation.Recall;

/// <summary>
/// Creates rows of the memorisation task of MAD (arXiv 2403.17844): a fixed map from keys to values, the same in all rows, that only the weights can
/// store. A row consists of keys, each followed by an insert token, at which the model predicts the value of the key.
/// </summary>
public sealed record Memorization : SyntheticTask
{
    int[]? map;

    /// <summary>Creates the task with the published sizes.</summary>
    public Memorization()
    {
    }

    // a copy whose settings are then changed has another map
    Memorization(Memorization original) : base(original) => (VocabularySize, Length, MapSeed) = (original.VocabularySize, original.Length,
        original.MapSeed);

    /// <inheritdoc/>
    public override string Name => "memorisation";

    /// <inheritdoc/>
    public override int RequiredVocabularySize => VocabularySize;

    /// <summary>Gets or sets the size of the vocabulary. The last token is the insert token. The default value is 256.</summary>
    public int VocabularySize { get; init; } = 256;

    /// <summary>Gets or sets the number of positions per row, an even number. The default value is 32.</summary>
    public override int Length { get; init; } = 32;

    /// <summary>Gets or sets the seed of the map, which training and test rows share. The default value is 12345.</summary>
    public long MapSeed { get; init; } = 12345;

    /// <inheritdoc/>
    public override void Check()
    {
        Require.Size(Length);
        Require.Size(VocabularySize);
        Require.AtLeast(VocabularySize, 3);
        Require.InRange(Length >= 2 && Length % 2 == 0, nameof(Length), Length, "an even number from 2");
    }

    /// <inheritdoc/>
    protected override void Fill(SeededRandom random, TrainingRow row, bool isTraining)
    {
        int keys = (VocabularySize - 1) / 2, values = VocabularySize - 1 - keys;
        var known = map ??= new SeededRandom(MapSeed).Sample(keys, values);
        for (int i = 0; i < Length; i += 2)
        {
            int key = random.Next(keys);
            row.Ids[i] = key;
            row.Ids[i + 1] = VocabularySize - 1;
            row.Targets[i + 1] = keys + known[key];
        }
    }

    /// <summary>Returns true if another task has the same settings.</summary>
    public bool Equals(Memorization? other) => other is not null && (VocabularySize, Length, MapSeed) == (other.VocabularySize, other.Length,
        other.MapSeed);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(VocabularySize, Length, MapSeed);
}
