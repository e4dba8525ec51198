using System.Text.Json.Serialization;

namespace HybridArchitectures.Reports.Page;

/// <summary>Contracts of <see cref="ChartData"/>, made at compile time.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(ChartData))]
sealed partial class ChartJsonContext : JsonSerializerContext;
