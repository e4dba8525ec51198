using System.Text.Json.Serialization;

namespace HybridArchitectures.Design;

/// <summary>Provides the source-generated contracts of the types of a design. Reading and writing works without reflection.</summary>
[JsonSourceGenerationOptions(GenerationMode = JsonSourceGenerationMode.Metadata)]
[JsonSerializable(typeof(DesignDocument))]
[JsonSerializable(typeof(BlockSpec[]))]
[JsonSerializable(typeof(SharedTransformerSpec[]))]
[JsonSerializable(typeof(AttentionSpec))]
[JsonSerializable(typeof(Mamba1Spec))]
[JsonSerializable(typeof(Mamba2Spec))]
[JsonSerializable(typeof(IntraHybridSpec))]
[JsonSerializable(typeof(ShortConvolutionSpec))]
[JsonSerializable(typeof(GatedDeltaSpec))]
[JsonSerializable(typeof(NoFeedForward))]
[JsonSerializable(typeof(SwiGluSpec))]
[JsonSerializable(typeof(MlpSpec))]
[JsonSerializable(typeof(MixtureOfExpertsSpec))]
sealed partial class DesignJsonContext : JsonSerializerContext;
