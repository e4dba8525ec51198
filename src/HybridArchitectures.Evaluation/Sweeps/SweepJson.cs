using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;
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
[JsonSerializable(typeof(SweepRun))]
sealed partial class SweepJson : JsonSerializerContext
{
    public static void Write<T>(string path, T value, JsonTypeInfo<T> type) => AtomicWrite.Text(path, JsonSerializer.Serialize(value, type) + "\n");

    public static T Read<T>(string path, JsonTypeInfo<T> type) => Parse(BoundedFile.ReadText(path, BoundedFile.MaxTextBytes), path, type);

    // one object per line
    public static void WriteLines<T>(string path, IEnumerable<T> values)
    {
        var compact = (JsonTypeInfo<T>)new SweepJson(new JsonSerializerOptions(Default.Options) { WriteIndented = false }).GetTypeInfo(typeof(T))!;
        AtomicWrite.Text(path, string.Concat(values.Select(value => JsonSerializer.Serialize(value, compact) + "\n")));
    }

    public static IReadOnlyList<T> ReadLines<T>(string path, JsonTypeInfo<T> type) =>
        [.. BoundedFile.ReadText(path, BoundedFile.MaxTextBytes).Split('\n')
            .Select((line, index) => (Line: line, Location: $"{path}, line {index + 1}"))
            .Where(item => !string.IsNullOrWhiteSpace(item.Line)).Select(item => Parse(item.Line, item.Location, type))];

    static T Parse<T>(string text, string location, JsonTypeInfo<T> type)
    {
        try
        {
            return JsonSerializer.Deserialize(text, type) ?? throw new JsonException("the file holds null");
        }
        catch (Exception e) when (e is JsonException or NotSupportedException or ArgumentException)
        {
            throw new InvalidDataException($"{location}: {e.Message}", e);
        }
    }
}
