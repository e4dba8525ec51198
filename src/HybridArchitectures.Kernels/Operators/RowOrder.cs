using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Operators;

/// <summary>Describes another order of the rows of a weight.</summary>
/// <param name="Order">The row of the weight at each place, shape (rows), int64.</param>
/// <param name="Inverse">The place of each row of the weight, shape (rows), int64.</param>
sealed record RowOrder(Tensor Order, Tensor Inverse);
