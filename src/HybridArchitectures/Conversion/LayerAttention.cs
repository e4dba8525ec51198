using HybridArchitectures.Design;

namespace HybridArchitectures.Conversion;

/// <summary>Contains statistics of one attention layer.</summary>
/// <param name="Layer">The number of the layer, from 1.</param>
/// <param name="MeanDistances">
/// For each query head, the mean number of tokens between a query and the keys that it attends to, weighted by the attention.
/// </param>
/// <param name="OutputScales">
/// For each channel before the output projection, ordered by head, the root mean square of the output of attention.
/// </param>
/// <param name="Constant">
/// For each channel of the width, the weights w of the linear function w x of the layer's input that comes nearest to the constant 1: w = (E[x x^T] +
/// r I)^-1 E[x], where r is 0.001 of the mean square of a channel.
/// </param>
public sealed record LayerAttention(
    int Layer, EquatableList<double> MeanDistances, EquatableList<double> OutputScales, EquatableList<double> Constant);
