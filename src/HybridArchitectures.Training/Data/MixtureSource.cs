namespace HybridArchitectures.Training;

/// <summary>One source of a mixture.</summary>
/// <param name="Data">Its rows.</param>
/// <param name="Weight">Its share of the rows, relative to the other sources'; above 0.</param>
/// <param name="Name">What messages call it.</param>
public sealed record MixtureSource(ITrainingData Data, double Weight, string Name);
