using System.Numerics;
using System.Text;
using HybridArchitectures.Training.Data;

namespace HybridArchitectures.Evaluation.Recall;

/// <summary>
/// Creates rows of multi-query associative recall (Zoology, arXiv 2312.04927, section 4 and appendix): key-value pairs, then the keys again at random
/// gaps among random tokens. At each repeated key the model predicts its value.
/// <para>
/// Keys are different ids in [1, V / 2), values different ids in [V / 2, V). The pairs come first. Each key is repeated once, at gap g of the
/// remaining positions in pairs. The gaps are different, and the probability of gap g >= 1 is proportional to g^(a - 1). All other positions hold
/// random tokens.
/// </para>
/// </summary>
public sealed record MultiQueryRecall : SyntheticTask
{
    /// <inheritdoc/>
    public override string Name => $"recall of {Pairs} pairs in {Length}";

    /// <inheritdoc/>
    public override int RequiredVocabularySize => VocabularySize;

    /// <summary>Gets or sets the size of the vocabulary. The default value is 8,192.</summary>
    public int VocabularySize { get; init; } = 8192;

    /// <summary>Gets or sets the number of positions per row, an even number. The default value is 64.</summary>
    public override int Length { get; init; } = 64;

    /// <summary>Gets or sets the number of key-value pairs, at most a quarter of <see cref="Length"/>. The default value is 4.</summary>
    public int Pairs { get; init; } = 4;

    /// <summary>
    /// Gets or sets the minimum number of pairs of a training row. Each training row holds this number, doubled any number of times up to
    /// <see cref="Pairs"/>, all equally likely. <see cref="Pairs"/> must be this number times a power of two. Models learn many pairs sooner if some
    /// rows hold few. Test rows always hold <see cref="Pairs"/>. The default value, 0, means that training rows hold <see cref="Pairs"/> too.
    /// </summary>
    public int MinTrainingPairs { get; init; }

    /// <summary>Gets or sets the exponent a of the gaps; 1 makes all gaps equally likely. The default value is 0.01.</summary>
    public double PowerA { get; init; } = 0.01;

    /// <summary>Gets or sets whether positions between queries hold random tokens instead of 0. The default value is true.</summary>
    public bool RandomFiller { get; init; } = true;

    /// <inheritdoc/>
    public override void Check()
    {
        Require.Size(Length);
        Require.Size(VocabularySize);
        Require.InRange(Length >= 4 && Length % 2 == 0, nameof(Length), Length, "an even number from 4");
        Require.InRange(Pairs >= 1 && Pairs <= Length / 4, nameof(Pairs), Pairs, $"1 to {Length / 4}, a quarter of the length");
        bool doubles = MinTrainingPairs > 0 && Pairs % MinTrainingPairs == 0 && BitOperations.IsPow2(Pairs / MinTrainingPairs);
        Require.InRange(MinTrainingPairs == 0 || doubles, nameof(MinTrainingPairs), MinTrainingPairs, $"0, or {Pairs} divided by a power of two");
        Require.InRange(VocabularySize > Length && VocabularySize / 2 - 1 >= Pairs, nameof(VocabularySize), VocabularySize,
            $"more than {Math.Max(Length, 2 * Pairs + 1)}");
        Require.InRange(PowerA > 0 && double.IsFinite(PowerA), nameof(PowerA), PowerA, "a finite number above 0");
    }

    /// <inheritdoc/>
    protected override void Fill(SeededRandom random, TrainingRow row, bool isTraining)
    {
        int pairs = isTraining ? TrainingPairs(random) : Pairs;
        int keyEnd = VocabularySize / 2, context = 2 * pairs, space = (Length - context) / 2;
        var keys = random.Sample(pairs, keyEnd - 1).Select(key => key + 1).ToArray();
        var values = random.Sample(pairs, VocabularySize - keyEnd).Select(value => value + keyEnd).ToArray();
        var isSet = new bool[Length];
        void Set(int position, int id)
        {
            row.Ids[position] = id;
            isSet[position] = true;
        }
        for (int i = 0; i < pairs; i++)
        {
            Set(2 * i, keys[i]);
            Set(2 * i + 1, values[i]);
        }
        // drawing one after another in proportion to weights is taking the smallest of exponential variables with these rates
        var gaps = Enumerable.Range(0, space).OrderBy(gap => -Math.Log(1 - random.NextDouble()) / Math.Pow(gap + 1, PowerA - 1)).Take(pairs)
            .ToArray();
        for (int i = 0; i < pairs; i++)
        {
            Set(context + 2 * gaps[i], keys[i]);
            row.Targets[context + 2 * gaps[i]] = values[i];
        }
        for (int position = 0; RandomFiller && position < Length; position++)
            if (!isSet[position]) row.Ids[position] = random.Next(VocabularySize);
    }

    // The description of data names every setting. A minimum without effect is left out, so that runs of versions without it are continued.
    /// <inheritdoc/>
    protected override bool PrintMembers(StringBuilder builder)
    {
        base.PrintMembers(builder);
        builder.Append($", {nameof(VocabularySize)} = {VocabularySize}, {nameof(Pairs)} = {Pairs}");
        if (MinTrainingPairs > 0) builder.Append($", {nameof(MinTrainingPairs)} = {MinTrainingPairs}");
        builder.Append($", {nameof(PowerA)} = {PowerA}, {nameof(RandomFiller)} = {RandomFiller}");
        return true;
    }

    // a row without a choice draws nothing, so that its content does not change
    int TrainingPairs(SeededRandom random)
    {
        if (MinTrainingPairs == 0) return Pairs;
        int choices = BitOperations.Log2((uint)(Pairs / MinTrainingPairs)) + 1;
        return choices == 1 ? MinTrainingPairs : MinTrainingPairs << random.Next(choices);
    }
}
