using System.Text.Json;
using System.Text.Json.Serialization;
using HybridArchitectures.Evaluation.Tasks;
using HybridArchitectures.Storage;

namespace HybridArchitectures.Cli.Output;

/// <summary>Writes results to a JSON file.</summary>
[JsonSourceGenerationOptions(WriteIndented = true, PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals)]
[JsonSerializable(typeof(TaskResult[]))]
sealed partial class TaskResultFile : JsonSerializerContext
{
    public static void Write(string path, TaskResult[] results) =>
        AtomicWrite.Text(path, JsonSerializer.Serialize(results, Default.TaskResultArray) + "\n");
}
