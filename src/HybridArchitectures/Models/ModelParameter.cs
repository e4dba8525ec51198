using HybridArchitectures.Modules;
using TorchSharp.Modules;

namespace HybridArchitectures.Models;

/// <summary>Represents a trainable tensor of a model.</summary>
/// <param name="Name">Its name in a checkpoint.</param>
/// <param name="Value">The tensor, float32.</param>
/// <param name="Decays">Whether weight decay applies: false for norms, biases, <c>A_log</c>, <c>D</c>, <c>dt_bias</c>.</param>
public sealed record ModelParameter(string Name, Parameter Value, bool Decays)
{
    /// <summary>
    /// Gets or sets the matrices of which the tensor consists, for a projection or the weights of experts. Null for other parameters: the embedding,
    /// the head, norms, biases, convolutions, and the parameters of state-space layers.
    /// </summary>
    public MatrixLayout? Matrix { get; init; }
}
