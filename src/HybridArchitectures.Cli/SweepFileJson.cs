using System.Text.Json.Serialization;

namespace HybridArchitectures.Cli;

/// <summary>Contracts of <see cref="SweepFile"/>, made at compile time.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(SweepFile))]
sealed partial class SweepFileJson : JsonSerializerContext;
