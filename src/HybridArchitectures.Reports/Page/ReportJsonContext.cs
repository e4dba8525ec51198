using System.Text.Json.Serialization;

namespace HybridArchitectures.Reports.Page;

/// <summary>Provides the source-generated contracts of <see cref="RunReport"/>.</summary>
[JsonSourceGenerationOptions(GenerationMode = JsonSourceGenerationMode.Metadata)]
[JsonSerializable(typeof(RunReport))]
sealed partial class ReportJsonContext : JsonSerializerContext;
