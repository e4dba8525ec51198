using System.Text.Json.Serialization;

namespace HybridArchitectures.Training.Data;

/// <summary>Provides the source-generated contracts of <see cref="ShardPlan"/>.</summary>
[JsonSourceGenerationOptions(GenerationMode = JsonSourceGenerationMode.Metadata)]
[JsonSerializable(typeof(ShardPlan))]
sealed partial class ShardJsonContext : JsonSerializerContext;
