namespace HybridArchitectures.Training;

/// <summary>How rows are read from <see cref="ITrainingData"/>.</summary>
/// <param name="ContextLength">Positions per row; at least 1.</param>
/// <param name="Seed">Decides the order of the rows and, for generated data, their content. The default value is 0.</param>
/// <param name="SeparateDocuments">
/// Whether documents of one row are kept apart, where the data gives a choice: no state, no attention and no target crosses from one to the next. The
/// default value is false.
/// </param>
public sealed record TrainingReaderOptions(int ContextLength, long Seed = 0, bool SeparateDocuments = false)
{
    internal void Check() => Refuse.Unless(ContextLength > 0, ContextLength, nameof(ContextLength), "at least 1 position");
}
