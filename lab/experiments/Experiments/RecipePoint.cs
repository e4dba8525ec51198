using System.Text.Json.Serialization;

namespace HybridArchitectures.Experiments;

/// <summary>Contains a line of the curve of a recipe: a report of the training, or a measurement of the held-out loss.</summary>
sealed record RecipePoint
{
    /// <summary>Gets the number of steps so far.</summary>
    public required long Step { get; init; }

    /// <summary>Gets the number of tokens so far.</summary>
    public required long Tokens { get; init; }

    /// <summary>Gets the training time so far in seconds.</summary>
    public required double Seconds { get; init; }

    /// <summary>Gets the mean training loss since the last report in nats per token.</summary>
    public double? Loss { get; init; }

    /// <summary>Gets the learning rate of the step.</summary>
    public double? LearningRate { get; init; }

    /// <summary>Gets the norm of the gradients of the step before clipping.</summary>
    public double? GradientNorm { get; init; }

    /// <summary>Gets the speed since the last report, without evaluations and checkpoints.</summary>
    public double? TokensPerSecond { get; init; }

    /// <summary>Gets the share of the dense bfloat16 throughput of the GPU that the matrix products of the model use; null on the CPU.</summary>
    public double? ModelFlopUtilisation { get; init; }

    /// <summary>Gets the memory of the device that has been in use at most, in bytes.</summary>
    public long? MemoryBytes { get; init; }

    /// <summary>Gets the held-out loss in nats per token.</summary>
    public double? HeldOutLoss { get; init; }

    /// <summary>Gets the standard error of the held-out loss in nats per token.</summary>
    public double? HeldOutError { get; init; }

    /// <summary>Gets the held-out loss in bits per byte of text.</summary>
    public double? HeldOutBitsPerByte { get; init; }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(RecipePoint))]
sealed partial class RecipeJsonContext : JsonSerializerContext;
