using HybridArchitectures.Training.Data;

namespace HybridArchitectures.Evaluation.Recall;

/// <summary>
/// Creates rows of selective copying of MAD (arXiv 2403.17844): tokens to copy are placed among blanks. After a copy token, at blanks, the model
/// predicts them in order.
/// </summary>
public sealed record SelectiveCopying : SyntheticTask
{
    /// <inheritdoc/>
    public override string Name => "selective copying";

    /// <inheritdoc/>
    public override int RequiredVocabularySize => VocabularySize;

    /// <summary>Gets or sets the size of the vocabulary. The last two tokens are the blank and the copy token. The default value is 16.</summary>
    public int VocabularySize { get; init; } = 16;

    /// <summary>Gets or sets the number of positions per row. The default value is 256.</summary>
    public override int Length { get; init; } = 256;

    /// <summary>Gets or sets the number of tokens to copy. The default value is 16.</summary>
    public int Tokens { get; init; } = 16;

    /// <inheritdoc/>
    public override void Check()
    {
        Require.Size(Length);
        Require.Size(VocabularySize);
        Require.AtLeast(VocabularySize, 3);
        Require.InRange(Tokens >= 1 && Tokens <= (Length - 2) / 2, nameof(Tokens), Tokens, $"1 to {(Length - 2) / 2}");
    }

    /// <inheritdoc/>
    protected override void Fill(SeededRandom random, TrainingRow row, bool isTraining)
    {
        int copy = VocabularySize - 1, blank = VocabularySize - 2, blanks = Length - 2 * Tokens - 1;
        var before = new int[Tokens];       // blanks before each token
        for (int i = 0; i < blanks; i++) before[random.Next(Tokens)]++;
        int at = 0;
        for (int i = 0; i < Tokens; i++)
        {
            for (; before[i] > 0; before[i]--) row.Ids[at++] = blank;
            int token = random.Next(VocabularySize - 2);
            row.Ids[at++] = token;
            row.Targets[Length - Tokens + i] = token;
        }
        row.Ids[at++] = copy;
        row.Ids[at..Length].Fill(blank);
    }
}
