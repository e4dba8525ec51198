using System.Text.Json.Serialization;
using HybridArchitectures.Cost;

namespace HybridArchitectures.Training.Running;

/// <summary>Contains the state of a run after a step.</summary>
/// <param name="Step">The number of steps so far.</param>
/// <param name="TotalSteps">The total number of steps. Null if the duration is a time.</param>
/// <param name="Tokens">The number of tokens so far.</param>
/// <param name="Loss">The mean cross entropy of the steps since the last report, in nats per token.</param>
/// <param name="LearningRate">The learning rate of the step.</param>
/// <param name="GradientNorm">The norm of the gradients of the step before clipping.</param>
/// <param name="TokensPerSecond">The speed since the last report, without evaluations and checkpoints.</param>
/// <param name="Elapsed">The training time, including earlier runs if the run was resumed.</param>
/// <param name="TimeLeft">The estimated remaining time. Null if it is unknown, or longer than <see cref="TimeSpan.MaxValue"/>.</param>
/// <param name="Done">The fraction of the run that is done, from 0 to 1.</param>
public sealed record TrainingProgress(
    long Step, long? TotalSteps, long Tokens, double Loss, double LearningRate, double GradientNorm, double TokensPerSecond,
    TimeSpan Elapsed, TimeSpan? TimeLeft, double Done)
{
    /// <summary>
    /// Gets or sets the floating-point operations of the model per second since the last report: matrix products and attention of forward and
    /// backward, without activations that are computed again. On several ranks, it is the sum of all.
    /// </summary>
    [JsonIgnore]
    public double ModelFlopsPerSecond { get; init; }

    /// <summary>
    /// Gets or sets the share of the dense bfloat16 throughput of the GPU, or of the GPUs of all ranks, that <see cref="ModelFlopsPerSecond"/> is.
    /// Null on the CPU, for other compute types, and for a GPU that <see cref="Cost.Accelerator.Known"/> does not contain.
    /// </summary>
    [JsonIgnore]
    public double? ModelFlopUtilisation { get; init; }

    /// <summary>
    /// Gets or sets the memory in use in bytes. On a GPU, this is all memory of the device that is not free, including that of other processes and
    /// what the allocator of libtorch has kept, so it is the maximum so far. On the CPU, it is the memory of this process.
    /// </summary>
    [JsonIgnore]
    public long MemoryBytes { get; init; }

    /// <summary>
    /// Gets or sets the share of the time since the last report in which rows were read. On a GPU, rows are read while earlier steps run, so that the
    /// GPU waits for less than this share.
    /// </summary>
    [JsonIgnore]
    public double ReadingShare { get; init; }

    /// <summary>Returns the main numbers in words: "step 100 of 300, loss 1.7456, learning rate 0.003, 8,246 tokens/s, 00:00:24 left".</summary>
    public override string ToString()
    {
        string steps = TotalSteps is { } total ? FormattableString.Invariant($"{Step} of {total}") : FormattableString.Invariant($"{Step}");
        return FormattableString.Invariant($"step {steps}, loss {Loss:0.0000}, learning rate {LearningRate:g3}, {TokensPerSecond:N0} tokens/s")
            + Units.TimeLeft(TimeLeft);
    }
}
