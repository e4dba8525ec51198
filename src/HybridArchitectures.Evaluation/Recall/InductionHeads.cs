using HybridArchitectures.Training.Data;

namespace HybridArchitectures.Evaluation.Recall;

/// <summary>
/// Creates rows of the induction heads task (arXiv 2209.11895; sizes of arXiv 2312.00752, section 4.1.2): random tokens with one special token. The
/// row ends with the special token again, and the model predicts the token that followed it.
/// </summary>
public sealed record InductionHeads : SyntheticTask
{
    /// <inheritdoc/>
    public override string Name => $"induction heads in {Length}";

    /// <inheritdoc/>
    public override int RequiredVocabularySize => VocabularySize;

    /// <summary>Gets or sets the size of the vocabulary. The last token is the special token. The default value is 16.</summary>
    public int VocabularySize { get; init; } = 16;

    /// <summary>Gets or sets the number of positions per row. The default value is 256.</summary>
    public override int Length { get; init; } = 256;

    /// <inheritdoc/>
    public override void Check()
    {
        Require.Size(Length);
        Require.Size(VocabularySize);
        Require.AtLeast(VocabularySize, 2);
        Require.AtLeast(Length, 3);
    }

    /// <inheritdoc/>
    protected override void Fill(SeededRandom random, TrainingRow row, bool isTraining)
    {
        for (int i = 0; i < Length; i++) row.Ids[i] = random.Next(VocabularySize - 1);
        int position = random.Next(Length - 2);
        row.Ids[position] = row.Ids[Length - 1] = VocabularySize - 1;
        row.Targets[Length - 1] = row.Ids[position + 1];
    }
}
