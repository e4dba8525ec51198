namespace HybridArchitectures.Training.Conversion;

/// <summary>Contains the held-out loss of a model with one layer replaced.</summary>
/// <param name="Layer">The number of the layer, from 1.</param>
/// <param name="Mixer">The mixer of the layer in pattern notation.</param>
/// <param name="WithoutMixer">The loss with a mixer that returns 0, in nats per token. Null if it was not measured.</param>
/// <param name="WithWindow">The loss with attention over a window, in nats per token. Null if it was not measured.</param>
public sealed record LayerImportance(int Layer, string Mixer, double? WithoutMixer, double? WithWindow);
