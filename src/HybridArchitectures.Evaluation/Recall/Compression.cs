using HybridArchitectures.Training.Data;

namespace HybridArchitectures.Evaluation.Recall;

/// <summary>
/// Creates rows of the compression task of MAD (arXiv 2403.17844) for causal models: random tokens, then a compression token. The model must store
/// the tokens in its state at that position.
/// </summary>
/// <remarks>
/// In the published task, the hidden vector of the compression token plus a sinusoidal code of a position goes through a separate network of two
/// layers, which names the token of that position. A language model has no such decoder, so the row goes on: after the compression token come the
/// positions to reconstruct, as tokens, in random order, and the model predicts the token that was there. Attention can then look at the tokens
/// directly, so its accuracy does not measure compression. Compare only models whose state has a fixed size.
/// </remarks>
public sealed record Compression : SyntheticTask
{
    /// <inheritdoc/>
    public override string Name => "compression";

    /// <inheritdoc/>
    public override int RequiredVocabularySize => VocabularySize + Tokens;

    /// <summary>Gets or sets the size of the vocabulary, including the compression token. The default value is 16.</summary>
    public int VocabularySize { get; init; } = 16;

    /// <summary>
    /// Gets or sets the number of positions per row. The first half is compressed, the second half contains queries. The default value is 63.
    /// </summary>
    public override int Length { get; init; } = 63;

    int Tokens => Length / 2;

    /// <inheritdoc/>
    public override void Check()
    {
        Require.Size(Length);
        Require.Size(VocabularySize);
        Require.AtLeast(VocabularySize, 3);
        Require.InRange(Length >= 3 && Length % 2 == 1, nameof(Length), Length, "an odd number from 3");
    }

    /// <inheritdoc/>
    protected override void Fill(SeededRandom random, TrainingRow row, bool isTraining)
    {
        for (int i = 0; i < Tokens; i++) row.Ids[i] = random.Next(VocabularySize - 1);
        row.Ids[Tokens] = VocabularySize - 1;
        int at = Tokens + 1;
        foreach (int position in random.Sample(Tokens, Tokens))
        {
            row.Ids[at] = VocabularySize + position;
            row.Targets[at++] = row.Ids[position];
        }
    }
}
