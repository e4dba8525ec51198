using TorchSharp.Modules;

namespace HybridArchitectures.Models;

/// <summary>Represents a trainable tensor of a model.</summary>
/// <param name="Name">Its name in a checkpoint.</param>
/// <param name="Value">The tensor, float32.</param>
/// <param name="Decays">Whether weight decay applies: false for norms, biases, <c>A_log</c>, <c>D</c>, <c>dt_bias</c>.</param>
public sealed record ModelParameter(string Name, Parameter Value, bool Decays);
