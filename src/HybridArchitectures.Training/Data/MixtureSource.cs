namespace HybridArchitectures.Training.Data;

/// <summary>Describes one source of a mixture.</summary>
/// <param name="Data">The tokens of the source.</param>
/// <param name="Weight">The share of the rows, relative to the other sources, above 0.</param>
/// <param name="Name">The name in messages.</param>
public sealed record MixtureSource(ITrainingData Data, double Weight, string Name);
