namespace HybridArchitectures.Training;

/// <summary>Where a run stands in its data.</summary>
/// <param name="Epoch">How often all windows have been read.</param>
/// <param name="Index">How many windows of this epoch have been read.</param>
public readonly record struct DataPosition(long Epoch, long Index);
