namespace HybridArchitectures.Training.Data;

/// <summary>
/// Represents a source of training rows: windows of a text (<see cref="TokenDataset"/>), complete examples (<see cref="ExampleDataset"/>), rows that
/// are generated from a seed (<see cref="GeneratedData"/>), or several sources by weight (<see cref="DataMixture"/>).
/// </summary>
public interface ITrainingData
{
    /// <summary>Gets the vocabulary size: one more than the maximum id in a row.</summary>
    int VocabularySize { get; }

    /// <summary>
    /// Gets a description that is the same for the same data and differs for other data. Checkpoints contain it, and a run is not continued with data
    /// that has another description.
    /// </summary>
    string Description { get; }

    /// <summary>Opens a reader at the first row.</summary>
    /// <param name="options">The context length, the seed, and whether documents are kept apart.</param>
    /// <exception cref="ArgumentException">The data cannot fill rows of this length. The message contains the reason.</exception>
    TrainingReader OpenReader(TrainingReaderOptions options);
}
