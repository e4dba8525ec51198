using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;
using HybridArchitectures.Design;
using HybridArchitectures.Storage;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Optimization;

namespace HybridArchitectures.Training.Running;

/// <summary>Contains the part of a checkpoint that is neither model nor optimizer: <c>training.json</c>.</summary>
sealed record TrainingState
{
    public const string FileName = "training.json";

    const string NoChecksum = "00000000";
    public const int CurrentVersion = 3;

    static readonly JsonTypeInfo<TrainingState> Json = (JsonTypeInfo<TrainingState>)new JsonSerializerOptions
    {
        TypeInfoResolver = TrainingJsonContext.Default.WithAddedModifier(InitOnlyDefaults.Keep).WithAddedModifier(KeepOldest),
        WriteIndented = true,
        PropertyNamingPolicy = JsonNamingPolicy.CamelCase,
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
        UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
        RespectNullableAnnotations = true,
        RespectRequiredConstructorParameters = true,
        Converters = { new JsonStringEnumConverter<TorchSharp.torch.ScalarType>(), new JsonStringEnumConverter<SpikeAction>() },
    }.GetTypeInfo(typeof(TrainingState));

    // a checkpoint without a constant was trained before that constant existed
    static void KeepOldest(JsonTypeInfo info)
    {
        if (info.Type == typeof(MuonOptions)) info.CreateObject = MuonOptions.CreateOldest;
    }

    public required int Version { get; init; }

    /// <summary>
    /// Gets or sets the CRC-32C of this file, computed with <see cref="NoChecksum"/> in its place. Null if the version that wrote the checkpoint
    /// stored none.
    /// </summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Checksum { get; init; }

    public required TrainingOptions Options { get; init; }

    public required TorchSharp.torch.ScalarType Compute { get; init; }

    public required long Step { get; init; }

    public required long Tokens { get; init; }

    public required DataPosition Position { get; init; }

    public required double ElapsedSeconds { get; init; }

    public required string Data { get; init; }

    /// <summary>Gets or sets the description of the <see cref="TrainingObjective"/>. Null if the run has none.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Objective { get; init; }

    /// <summary>
    /// Gets or sets the names of the parameters of the model that are not trained. Null if all are, or if adapters are trained instead.
    /// </summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<string>? Frozen { get; init; }

    /// <summary>Gets or sets the sum of the losses since the last report, and their number.</summary>
    public required double PendingLoss { get; init; }

    public required int PendingSteps { get; init; }

    /// <summary>Gets or sets the history of the spike guard.</summary>
    public SpikeWatch Spikes { get; init; } = new();

    /// <summary>Gets or sets the held-out loss at this step. Null if it was not measured.</summary>
    public required double? HeldOutLoss { get; init; }

    public required IReadOnlyList<TrainingProgress> History { get; init; }

    public required IReadOnlyList<EvaluationPoint> Evaluations { get; init; }

    /// <summary>
    /// Gets or sets the sizes and checksums of the other files of the checkpoint, by name. Null if the version that wrote the checkpoint stored none.
    /// </summary>
    public IReadOnlyDictionary<string, FileMark>? Files { get; init; }

    /// <summary>Checks that no file of a checkpoint is missing or has changed since it was written.</summary>
    /// <exception cref="InvalidDataException">A file has another size or checksum. The message names it.</exception>
    /// <exception cref="FileNotFoundException">A file is missing.</exception>
    public void CheckFiles(string folder)
    {
        foreach (var (name, expected) in Files ?? new Dictionary<string, FileMark>())
        {
            if (name != Path.GetFileName(name))
                throw new InvalidDataException($"{Path.Combine(folder, FileName)}: files names '{name}'; expected a file of the checkpoint");
            var path = Path.Combine(folder, name);
            var found = FileMark.FromFile(path);
            if (found != expected)
                throw new InvalidDataException($"{path}: {found.Bytes} bytes with CRC-32C {found.Crc32C}; "
                    + $"expected {expected.Bytes} bytes with {expected.Crc32C}. The file is damaged");
        }
    }

    /// <summary>Checks that a checkpoint can store the options. A custom schedule, for example, cannot be stored.</summary>
    /// <exception cref="ArgumentException">The schedule cannot be stored. The message names it.</exception>
    public static void RequireSavable(TrainingOptions options)
    {
        try
        {
            _ = JsonSerializer.Serialize(options, Json.Options.GetTypeInfo(typeof(TrainingOptions)));
        }
        catch (NotSupportedException e)
        {
            throw Require.Unfit(nameof(options), $"{nameof(TrainingOptions.Schedule)} is {options.Schedule.GetType().Name}",
                $"{nameof(TrapezoidSchedule)}, {nameof(CosineSchedule)} or {nameof(LinearSchedule)}, because checkpoints store it ({e.Message})", e);
        }
    }

    public void Write(string folder)
    {
        string text = JsonSerializer.Serialize(this with { Checksum = NoChecksum }, Json);
        AtomicWrite.Text(Path.Combine(folder, FileName), ReplaceChecksum(text, NoChecksum, ChecksumOf(text)));
    }

    static string ChecksumOf(string text) =>
        FileMark.Checksum(Encoding.UTF8.GetBytes(text)).ToString("x8", System.Globalization.CultureInfo.InvariantCulture);

    // it is the second property, and no name or text before it contains quotation marks
    static string ReplaceChecksum(string text, string old, string by)
    {
        int at = text.IndexOf($"\"{old}\"", StringComparison.Ordinal);
        return at < 0 ? text : string.Concat(text.AsSpan(0, at + 1), by, text.AsSpan(at + 1 + old.Length));
    }

    public static TrainingState Read(string folder)
    {
        var path = Path.Combine(folder, FileName);
        if (!File.Exists(path)) throw new FileNotFoundException($"no file '{path}'; expected a checkpoint of a training run", path);
        try
        {
            var text = BoundedFile.ReadText(path, BoundedFile.MaxTextBytes);
            FormatVersion.Require(text, CurrentVersion);
            var state = JsonSerializer.Deserialize(text, Json) ?? throw new JsonException("the file is null; expected an object");
            if (state.Step < 0 || state.Tokens < 0 || !(state.ElapsedSeconds >= 0 && state.ElapsedSeconds < TimeSpan.MaxValue.TotalSeconds))
                throw new JsonException($"step {state.Step}, tokens {state.Tokens}, elapsedSeconds {state.ElapsedSeconds}; expected numbers from 0");
            state.Options.Check();
            if (state.Checksum is { } stated && ChecksumOf(ReplaceChecksum(text, stated, NoChecksum)) is var found && found != stated)
                throw new InvalidDataException($"{path}: its CRC-32C is {found}; expected {stated}. The file is damaged or was changed");
            return state;
        }
        catch (Exception e) when (e is JsonException or NotSupportedException or InvalidOperationException or ArgumentException)
        {
            throw new InvalidDataException($"{path}: {Require.Text(e)}", e);
        }
    }
}
