using System.Text.Json.Serialization;

namespace HybridArchitectures.Training;

/// <summary>Contracts of <see cref="ShardPlan"/>, made at compile time.</summary>
[JsonSourceGenerationOptions(GenerationMode = JsonSourceGenerationMode.Metadata)]
[JsonSerializable(typeof(ShardPlan))]
sealed partial class ShardJsonContext : JsonSerializerContext;
