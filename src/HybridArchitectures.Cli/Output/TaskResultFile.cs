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
    /// <summary>Checks that the folder of a file exists.</summary>
    /// <exception cref="DirectoryNotFoundException">It does not exist.</exception>
    public static void RequireFolder(string path)
    {
        Require.NotBlank(path, "--json");
        string folder = Path.GetDirectoryName(Path.GetFullPath(path)) ?? path;
        if (!Directory.Exists(folder) || Directory.Exists(path))
            throw new DirectoryNotFoundException($"--json is '{path}'; expected a file in a folder that exists.");
    }

    public static void Write(string path, TaskResult[] results) =>
        AtomicWrite.Text(path, JsonSerializer.Serialize(results, Default.TaskResultArray) + "\n");
}
