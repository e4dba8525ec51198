using System.Text.Json.Serialization;

namespace HybridArchitectures.Reports;

/// <summary>Contracts of <see cref="RunReport"/>, made at compile time.</summary>
[JsonSourceGenerationOptions(GenerationMode = JsonSourceGenerationMode.Metadata)]
[JsonSerializable(typeof(RunReport))]
sealed partial class ReportJsonContext : JsonSerializerContext;
