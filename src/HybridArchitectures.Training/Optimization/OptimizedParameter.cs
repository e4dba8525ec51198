using TorchSharp.Modules;

namespace HybridArchitectures.Training.Optimization;

/// <summary>Represents a parameter that an optimizer updates.</summary>
sealed record OptimizedParameter(string Name, Parameter Value);
