using HybridArchitectures.Training.Data;

namespace HybridArchitectures.Evaluation.Recall;

/// <summary>
/// Creates rows of phonebook look-up (arXiv 2402.01032, section 4.3; arXiv 2406.07887): entries of a name and a number, then one of the names. Its
/// number is predicted digit by digit. A name is a sequence of letters, and no two names of a row are equal. A number is a sequence of digits.
/// </summary>
/// <remarks>Ids 0 to 9 are digits, 10 to 35 are letters, 36 separates name and number, 37 ends an entry, and 38 begins the question.</remarks>
public sealed record Phonebook : SyntheticTask
{
    const int Letters = 10, Colon = 36, End = 37, Question = 38;

    /// <inheritdoc/>
    public override string Name => $"phonebook of {Entries}";

    /// <inheritdoc/>
    public override int RequiredVocabularySize => 39;

    /// <summary>Gets or sets the number of letters per name, 1 to 8. The default value is 4.</summary>
    public int NameLength { get; init; } = 4;

    /// <summary>Gets or sets the number of digits per number. The default value is 7.</summary>
    public int NumberLength { get; init; } = 7;

    /// <summary>Gets or sets the number of positions per row, which determines the number of entries. The default value is 256.</summary>
    public override int Length { get; init; } = 256;

    /// <summary>Gets the number of entries per row.</summary>
    public int Entries => (Length - NameLength - NumberLength - 1) / (NameLength + NumberLength + 2);

    /// <inheritdoc/>
    public override void Check()
    {
        Require.Size(Length);
        Require.InRange(NameLength is >= 1 and <= 8, nameof(NameLength), NameLength, "1 to 8");
        Require.Size(NumberLength);
        Require.InRange(Entries >= 1, nameof(Length), Length,
            $"at least {2 * NameLength + 2 * NumberLength + 3}, the length of one entry and its "
            + $"question");
        Require.InRange(Entries <= Math.Pow(26, NameLength) / 2, nameof(Length), Length,
            "a length of at most half as many entries as there are names");
    }

    /// <inheritdoc/>
    protected override void Fill(SeededRandom random, TrainingRow row, bool isTraining)
    {
        var names = new HashSet<string>();
        var entries = new List<(int[] Name, int[] Number)>();
        while (entries.Count < Entries)
        {
            int[] name = [.. Enumerable.Range(0, NameLength).Select(_ => Letters + random.Next(26))];
            if (names.Add(string.Join(' ', name))) entries.Add((name, [.. Enumerable.Range(0, NumberLength).Select(_ => random.Next(10))]));
        }
        var (asked, answer) = entries[random.Next(entries.Count)];
        int[] tokens = [.. entries.SelectMany(entry => (int[])[.. entry.Name, Colon, .. entry.Number, End]), Question, .. asked, Colon, .. answer];
        int padding = Length + 1 - tokens.Length;
        for (int i = 0; i < Length; i++)
        {
            row.Ids[i] = i < padding ? End : tokens[i - padding];
            if (i + 1 > Length - NumberLength) row.Targets[i] = tokens[i + 1 - padding];
        }
    }
}
