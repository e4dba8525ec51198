using HybridArchitectures.Evaluation.Recall;

namespace HybridArchitectures.Experiments;

/// <summary>Contains the recall task and the length of its training.</summary>
sealed record RecallSetting
{
    /// <summary>Gets the number of tokens of a training row.</summary>
    public int Length { get; init; } = 256;

    /// <summary>Gets the number of key-value pairs of test rows, and the maximum of training rows.</summary>
    public int Pairs { get; init; } = 64;

    /// <summary>Gets the minimum number of pairs of training rows.</summary>
    public int MinPairs { get; init; } = 4;

    /// <summary>Gets the number of steps.</summary>
    public int Steps { get; init; } = 4000;

    /// <summary>Gets the number of tokens per step.</summary>
    public int TokensPerStep { get; init; } = 16_384;

    /// <summary>Gets the peak learning rate of each class of designs at the base size, from trials with one seed.</summary>
    public IReadOnlyDictionary<string, double> Rates { get; init; } = new Dictionary<string, double>
    {
        [LearningRates.Attention] = 2e-3, [LearningRates.Mamba] = 4e-3, [LearningRates.Inter] = 1e-3, [LearningRates.Intra] = 2e-3,
    };

    /// <summary>Gets the number of test rows.</summary>
    public int TestRows { get; init; } = 64;

    /// <summary>Creates the task.</summary>
    /// <param name="vocabularySize">The vocabulary size.</param>
    /// <param name="lengths">The length of a row, as a multiple of <see cref="Length"/>.</param>
    public MultiQueryRecall TaskAt(int vocabularySize, double lengths = 1) => new()
    {
        VocabularySize = vocabularySize, Length = (int)(lengths * Length), Pairs = Pairs, MinTrainingPairs = MinPairs, RandomFiller = false,
    };

    /// <summary>Returns the name of the task in results.</summary>
    /// <param name="lengths">The length of a row, as a multiple of <see cref="Length"/>.</param>
    public string NameAt(double lengths) => TaskAt(1 << 20, lengths).Name;
}
