using System.Text.Json.Serialization;

namespace HybridArchitectures.Cli.Inputs;

/// <summary>Contains the JSON contracts of <see cref="SweepFile"/>, generated at compile time.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(SweepFile))]
sealed partial class SweepFileJson : JsonSerializerContext;
