using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Evaluation.Tasks;
using HybridArchitectures.Storage;

namespace HybridArchitectures.Evaluation.Sweeps;

/// <summary>Reads and writes the files of a run. Each file is written atomically.</summary>
[JsonSourceGenerationOptions(
    WriteIndented = true, PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(SweepRunSettings))]
[JsonSerializable(typeof(SweepTraining))]
[JsonSerializable(typeof(TaskResult))]
sealed partial class SweepJson : JsonSerializerContext
{
    public static void Write<T>(string path, T value, JsonTypeInfo<T> type) => AtomicWrite.Text(path, JsonSerializer.Serialize(value, type) + "\n");

    public static T Read<T>(string path, JsonTypeInfo<T> type)
    {
        try
        {
            return JsonSerializer.Deserialize(File.ReadAllText(path), type) ?? throw new JsonException("the file holds null");
        }
        catch (Exception e) when (e is JsonException or NotSupportedException or ArgumentException)
        {
            throw new InvalidDataException($"{path}: {e.Message}", e);
        }
    }
}
