using System.Text.Json.Serialization;

namespace HybridArchitectures.Training;

/// <summary>Contracts of <see cref="TrainingState"/>, made at compile time.</summary>
[JsonSourceGenerationOptions(GenerationMode = JsonSourceGenerationMode.Metadata)]
[JsonSerializable(typeof(TrainingState))]
sealed partial class TrainingJsonContext : JsonSerializerContext;
