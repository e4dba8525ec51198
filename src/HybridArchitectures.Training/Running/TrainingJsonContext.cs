using System.Text.Json.Serialization;

namespace HybridArchitectures.Training.Running;

/// <summary>Provides the source-generated contracts of <see cref="TrainingState"/>.</summary>
[JsonSourceGenerationOptions(GenerationMode = JsonSourceGenerationMode.Metadata)]
[JsonSerializable(typeof(TrainingState))]
sealed partial class TrainingJsonContext : JsonSerializerContext;
