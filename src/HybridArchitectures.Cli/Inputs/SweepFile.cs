using System.Text.Json;
using System.Text.Json.Schema;
using System.Text.Json.Serialization;
using HybridArchitectures.Evaluation.Sweeps;
using HybridArchitectures.Storage;
using HybridArchitectures.Training.Running;

namespace HybridArchitectures.Cli.Inputs;

/// <summary>Describes a sweep in a readable file of JSON or YAML. <c>hybrid sweep --schema</c> writes its schema.</summary>
sealed class SweepFile
{
    // settable, not init-only: a generated JSON contract keeps the defaults of settable properties only

    [JsonPropertyName("$schema")]
    public string? Schema { get; set; }

    public required string Folder { get; init; }

    public required IReadOnlyList<SweepFileDesign> Designs { get; init; }

    public IReadOnlyList<long> Seeds { get; set; } = [1, 2];

    public required string Data { get; init; }

    public string? Tokenizer { get; set; }

    public double LearningRate { get; set; } = 3e-3;

    public int ContextLength { get; set; } = 256;

    public int BatchSize { get; set; } = 8;

    public long? Steps { get; set; }

    public long? Tokens { get; set; }

    public double? Seconds { get; set; }

    public double? TrainingFlops { get; set; }

    public bool MatchParameters { get; set; }

    public string Device { get; set; } = ModelPlace.Auto;

    public IReadOnlyList<string> Tasks { get; set; } = ["held-out"];

    /// <summary>Gets an example of a sweep.</summary>
    public static string Example => """
        {
          "folder": "runs/sweep",
          "designs": [
            { "name": "attention", "design": "TTTT:width=128,vocabulary=256,heads=4,feed=256" },
            { "name": "mamba", "design": "MMMM:width=128,vocabulary=256,state=16,head=32,feed=256" },
            { "name": "hybrid 1:3", "design": "MMTM:width=128,vocabulary=256,heads=4,state=16,head=32,feed=256" }
          ],
          "seeds": [1, 2],
          "data": "documentation",
          "learningRate": 0.003,
          "contextLength": 256,
          "batchSize": 4,
          "steps": 200,
          "matchParameters": true,
          "tasks": ["held-out", "inference"]
        }

        """;

    /// <summary>Gets the same sweep as YAML.</summary>
    public static string YamlExample => """
        # hybrid sweep --schema writes the JSON schema of these keys
        folder: runs/sweep
        designs:
          - name: attention
            design: "TTTT:width=128,vocabulary=256,heads=4,feed=256"
          - name: mamba
            design: "MMMM:width=128,vocabulary=256,state=16,head=32,feed=256"
          - name: hybrid 1:3
            design: "MMTM:width=128,vocabulary=256,heads=4,state=16,head=32,feed=256"
        seeds: [1, 2]
        data: documentation
        learningRate: 0.003
        contextLength: 256
        batchSize: 4
        steps: 200
        matchParameters: true
        tasks: [held-out, inference]

        """;

    static readonly JsonSerializerOptions Json = new(SweepFileJson.Default.Options)
    {
        ReadCommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true, UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
        RespectNullableAnnotations = true, RespectRequiredConstructorParameters = true,
    };

    /// <summary>Gets the JSON schema of the file.</summary>
    public static string JsonSchema => Json.GetTypeInfo(typeof(SweepFile)).GetJsonSchemaAsNode()
        .ToJsonString(new JsonSerializerOptions { WriteIndented = true });

    /// <summary>Reads a file.</summary>
    public static SweepFile Read(string path)
    {
        if (!File.Exists(path)) throw new FileNotFoundException($"file is '{path}'; expected the file of a sweep. 'hybrid new {path} --kind sweep' "
            + $"writes an example.", path);
        var yaml = IsYaml(path) ? YamlDocument.Read(path) : null;
        try
        {
            string json = yaml?.Json ?? BoundedFile.ReadText(path, BoundedFile.MaxConfigBytes);
            return (SweepFile?)JsonSerializer.Deserialize(json, Json.GetTypeInfo(typeof(SweepFile)))
                ?? throw new JsonException("the file is empty");
        }
        catch (JsonException e)
        {
            throw new InvalidDataException(Describe(path, yaml, e), e);
        }
    }

    /// <summary>Returns the key that sets a setting of the library, or null if there is none.</summary>
    public static string? KeyOf(string setting) => Json.GetTypeInfo(typeof(SweepFile)).Properties.Select(property => property.Name)
        .FirstOrDefault(key => string.Equals(key, setting, StringComparison.OrdinalIgnoreCase));

    /// <summary>Returns whether the name of a file is that of YAML: <c>.yaml</c> or <c>.yml</c>.</summary>
    public static bool IsYaml(string path) => Path.GetExtension(path).ToUpperInvariant() is ".YAML" or ".YML";

    // file, line and key, then the reason without the place that the serializer appends
    static string Describe(string path, YamlDocument? yaml, JsonException error)
    {
        string reason = error.Message;
        int pathStart = reason.IndexOf(" Path: ", StringComparison.Ordinal);
        if (pathStart >= 0) reason = reason[..pathStart];
        const string converted = "could not be converted to ";
        int type = reason.IndexOf(converted, StringComparison.Ordinal);
        if (type >= 0) reason = $"expected {Expected(reason[(type + converted.Length)..])}.";
        string key = error.Path is null or "$" ? "" : $", key '{error.Path.TrimStart('$', '.')}'";
        long? line = yaml is null ? error.LineNumber + 1 : yaml.LineOf(error.Path);
        return $"{path}{(line is { } number ? $": line {number}" : "")}{key}: {reason}";
    }

    static string Expected(string type) => type switch
    {
        _ when type.Contains("Int32", StringComparison.Ordinal) || type.Contains("Int64", StringComparison.Ordinal) => "a whole number",
        _ when type.Contains("Double", StringComparison.Ordinal) => "a number",
        _ when type.Contains("Boolean", StringComparison.Ordinal) => "true or false",
        _ when type.StartsWith("System.String", StringComparison.Ordinal) => "text",
        _ => "a list, or keys and values",
    };

    /// <summary>Creates the options of the sweep. The caller still owns the data.</summary>
    public SweepOptions ToOptions(TextData text)
    {
        IReadOnlyList<SweepDesign> designs = [.. Designs.Select(item =>
            new SweepDesign(item.Name, DesignArgument.Parse(item.Design, item.Name), item.LearningRate, item.Family))];
        if (MatchParameters) designs = SweepDesign.MatchSizes(designs);
        var settings = new TaskSettings(ContextLength, [ContextLength], 5, text.HeldOut, Data, () => text.Tokenizer);
        var (device, compute) = Place();
        return new SweepOptions
        {
            Device = device, ComputeType = compute,
            Folder = Folder, Designs = designs, Seeds = Seeds, Data = text.Training, HeldOut = text.HeldOut, TrainingFlops = TrainingFlops,
            Tasks = [.. Tasks.SelectMany(task => TaskArgument.Parse(task, settings))],
            Training = new TrainingOptions
            {
                LearningRate = LearningRate, ContextLength = ContextLength, BatchSize = BatchSize, EvaluationTokens = 65_536,
                Duration = TrainingFlops is not null && Steps is null && Tokens is null && Seconds is null ? Duration.Tokens(1)
                    : TrainingFlags.Duration(Steps, Tokens, Seconds, dashes: ""),
            },
        };
    }

    /// <summary>
    /// Returns where the models are. A sweep that has begun stays where it is, unless the file names another device: the dtype of activations belongs
    /// to the settings of a run, so that other runs would begin.
    /// </summary>
    public ModelPlace Place()
    {
        const string key = "device";
        var begun = Device == ModelPlace.Auto && Directory.Exists(Folder) ? Sweep.Read(Folder).Runs.FirstOrDefault() : null;
        if (begun is null) return ModelPlace.Parse(Device, key);
        bool isOnGpu = begun.Settings.Environment.Device.StartsWith(ModelPlace.OnCuda, StringComparison.Ordinal);
        return isOnGpu ? ModelPlace.Parse(ModelPlace.OnCuda, $"{key} of the runs in '{Folder}'") : ModelPlace.Cpu;
    }
}
