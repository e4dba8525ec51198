namespace HybridArchitectures.Checkpoints;

/// <summary>Describes rows of a matrix that consists of equal groups of rows: the same rows of every group.</summary>
/// <param name="Groups">The number of groups.</param>
/// <param name="Start">The first row within a group.</param>
/// <param name="Size">The number of rows within a group.</param>
sealed record TensorRows(int Groups, int Start, int Size);
