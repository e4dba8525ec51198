using System.Text.Json.Serialization;

namespace HybridArchitectures.Training.Conversion;

/// <summary>Provides the source-generated contract of <see cref="ImportanceRecord"/>.</summary>
[JsonSourceGenerationOptions(WriteIndented = true, PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, RespectNullableAnnotations = true,
    RespectRequiredConstructorParameters = true)]
[JsonSerializable(typeof(ImportanceRecord))]
sealed partial class ImportanceJsonContext : JsonSerializerContext;
