using System.Globalization;
using System.Text.Json.Serialization;

namespace HybridArchitectures.Training.Running;

/// <summary>
/// Specifies the duration of a training run: a number of steps, a number of tokens, or a time. Create it with <see cref="Steps"/>,
/// <see cref="Tokens"/> or <see cref="Time"/>.
/// </summary>
/// <example>
/// <code>
/// var options = new TrainingOptions { LearningRate = 3e-3, ContextLength = 256, BatchSize = 8, Duration = Duration.Tokens(1_000_000) };
/// options = options with { Duration = Duration.Time(TimeSpan.FromMinutes(10)) };
/// </code>
/// </example>
public sealed record Duration
{
    [JsonConstructor]
    internal Duration(long? stepCount, long? tokenCount, TimeSpan? timeBudget)
    {
        int given = (stepCount is null ? 0 : 1) + (tokenCount is null ? 0 : 1) + (timeBudget is null ? 0 : 1);
        if (given != 1)
            throw Require.Unfit(null,
                $"duration has {given} of {nameof(stepCount)}, {nameof(tokenCount)} and {nameof(timeBudget)}", "exactly one");
        Require.InRange(stepCount is null or > 0, "steps", stepCount, "at least 1");
        Require.InRange(tokenCount is null or > 0, "tokens", tokenCount, "at least 1");
        Require.InRange(timeBudget is null || timeBudget > TimeSpan.Zero, "time", timeBudget, "a time above 0");
        (StepCount, TokenCount, TimeBudget) = (stepCount, tokenCount, timeBudget);
    }

    /// <summary>Gets the number of steps; null if the run ends after a number of tokens or a time.</summary>
    public long? StepCount { get; }

    /// <summary>Gets the number of tokens, rounded up to whole steps; null if the run ends after a number of steps or a time.</summary>
    public long? TokenCount { get; }

    /// <summary>Gets the time, including evaluations and checkpoints; null if the run ends after a number of steps or tokens.</summary>
    public TimeSpan? TimeBudget { get; }

    /// <summary>Returns a duration of a number of optimizer steps.</summary>
    /// <param name="steps">The number of steps, at least 1.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="steps"/> is below 1.</exception>
    public static Duration Steps(long steps) => new(steps, null, null);

    /// <summary>Returns a duration of a number of tokens, rounded up to whole steps.</summary>
    /// <param name="tokens">The number of tokens, at least 1.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="tokens"/> is below 1.</exception>
    public static Duration Tokens(long tokens) => new(null, tokens, null);

    /// <summary>
    /// Returns a duration of a time, including evaluations and checkpoints. The learning-rate schedule follows the share of it that has passed.
    /// </summary>
    /// <param name="time">The time, above 0.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="time"/> is 0 or below.</exception>
    public static Duration Time(TimeSpan time) => new(null, null, time);

    /// <inheritdoc/>
    public override string ToString() => StepCount is { } steps ? string.Create(CultureInfo.InvariantCulture, $"{steps} steps")
        : TokenCount is { } tokens ? string.Create(CultureInfo.InvariantCulture, $"{tokens} tokens")
        : string.Create(CultureInfo.InvariantCulture, $"{TimeBudget}");
}
