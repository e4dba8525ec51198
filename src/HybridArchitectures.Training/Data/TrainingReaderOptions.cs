namespace HybridArchitectures.Training.Data;

/// <summary>Contains the options for reading rows from <see cref="ITrainingData"/>.</summary>
/// <param name="ContextLength">The number of positions per row, at least 1.</param>
/// <param name="Seed">The seed of the order of the rows and, for generated data, of their content. The default is 0.</param>
/// <param name="SeparateDocuments">
/// Whether documents in a row are kept apart, if the data allows a choice: no state, no attention and no target crosses a boundary. The default is
/// false.
/// </param>
public sealed record TrainingReaderOptions(int ContextLength, long Seed = 0, bool SeparateDocuments = false)
{
    internal void Check() => Require.InRange(ContextLength > 0, nameof(ContextLength), ContextLength, "at least 1 position");
}
