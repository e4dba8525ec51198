using System.Text.Json;
using System.Text.Json.Serialization;
using HybridArchitectures.Checkpoints;

namespace HybridArchitectures.Training;

/// <summary>What a checkpoint holds of a run beside model and optimizer: <c>training.json</c>.</summary>
sealed record TrainingState
{
    public const string FileName = "training.json";
    const int CurrentVersion = 1;

    static readonly JsonSerializerOptions Json = new()
    {
        WriteIndented = true,
        PropertyNamingPolicy = JsonNamingPolicy.CamelCase,
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
        UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
        RespectNullableAnnotations = true,
        RespectRequiredConstructorParameters = true,
        Converters = { new JsonStringEnumConverter() },
    };

    public required int Version { get; init; }

    public required TrainingOptions Options { get; init; }

    public required TorchSharp.torch.ScalarType Compute { get; init; }

    public required long Step { get; init; }

    public required long Tokens { get; init; }

    public required DataPosition Position { get; init; }

    public required double ElapsedSeconds { get; init; }

    public required string Data { get; init; }

    /// <summary>Sum and number of the losses since the last report.</summary>
    public required double PendingLoss { get; init; }

    public required int PendingSteps { get; init; }

    /// <summary>What the spike guard knows.</summary>
    public SpikeWatch Spikes { get; init; } = new();

    /// <summary>The held-out loss measured at this very step.</summary>
    public required double? HeldOutLoss { get; init; }

    public required IReadOnlyList<TrainingProgress> History { get; init; }

    public required IReadOnlyList<EvaluationPoint> Evaluations { get; init; }

    public static int NewVersion => CurrentVersion;

    public void Write(string folder) => AtomicWrite.Text(Path.Combine(folder, FileName), JsonSerializer.Serialize(this, Json));

    public static TrainingState Read(string folder)
    {
        var path = Path.Combine(folder, FileName);
        if (!File.Exists(path)) throw new FileNotFoundException($"no file '{path}'; expected a checkpoint of a training run", path);
        try
        {
            var state = JsonSerializer.Deserialize<TrainingState>(File.ReadAllText(path), Json) ?? throw new JsonException("the file holds null");
            if (state.Version != CurrentVersion) throw new JsonException($"version is {state.Version}; expected {CurrentVersion}");
            if (state.Step < 0 || state.Tokens < 0 || !(state.ElapsedSeconds >= 0 && state.ElapsedSeconds < TimeSpan.MaxValue.TotalSeconds))
                throw new JsonException($"step {state.Step}, tokens {state.Tokens}, elapsedSeconds {state.ElapsedSeconds}; expected numbers from 0");
            state.Options.Check();
            return state;
        }
        catch (Exception e) when (e is JsonException or NotSupportedException or InvalidOperationException or ArgumentException)
        {
            throw new InvalidDataException($"{path}: {e.Message}", e);
        }
    }
}
