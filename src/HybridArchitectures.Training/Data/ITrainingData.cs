namespace HybridArchitectures.Training;

/// <summary>
/// A source of training rows: windows of a text (<see cref="TokenDataset"/>), whole examples (<see cref="ExampleDataset"/>), rows made from a seed
/// (<see cref="GeneratedData"/>), or several sources by weight (<see cref="DataMixture"/>).
/// </summary>
public interface ITrainingData
{
    /// <summary>Gets the number of tokens of the vocabularySize: one more than the largest id a row may hold.</summary>
    int VocabularySize { get; }

    /// <summary>
    /// Gets a text that is equal for equal data and differs for other data. Checkpoints hold it, and a run refuses to continue on data with another one.
    /// </summary>
    string Description { get; }

    /// <summary>Opens a reader at the first row.</summary>
    /// <param name="options">The row length, the seed and whether documents are kept apart.</param>
    /// <exception cref="ArgumentException">The data cannot fill rows of this length; the message says why.</exception>
    TrainingReader OpenReader(TrainingReaderOptions options);
}
