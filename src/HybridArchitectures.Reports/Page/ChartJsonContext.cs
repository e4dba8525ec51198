using System.Text.Json.Serialization;

namespace HybridArchitectures.Reports.Page;

/// <summary>Provides the source-generated contracts of <see cref="ChartData"/>.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(ChartData))]
sealed partial class ChartJsonContext : JsonSerializerContext;
