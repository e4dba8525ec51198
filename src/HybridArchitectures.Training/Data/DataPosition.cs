namespace HybridArchitectures.Training.Data;

/// <summary>Represents a position in the data.</summary>
/// <param name="Epoch">The number of completed epochs.</param>
/// <param name="Index">The number of windows that were read in this epoch.</param>
public readonly record struct DataPosition(long Epoch, long Index);
