using System.Text.Json.Serialization;

namespace HybridArchitectures.Design;

/// <summary>Provides the source-generated contracts of the types of a design. Reading and writing works without reflection.</summary>
[JsonSourceGenerationOptions(GenerationMode = JsonSourceGenerationMode.Metadata)]
[JsonSerializable(typeof(DesignDocument))]
[JsonSerializable(typeof(BlockSpec[]))]
[JsonSerializable(typeof(SharedTransformerSpec[]))]
sealed partial class DesignJsonContext : JsonSerializerContext;
