using HybridArchitectures.Training.Data;

namespace HybridArchitectures.Training.Running;

/// <summary>Describes a step that a <see cref="SpikeGuard"/> found.</summary>
/// <param name="Step">The step, counted from 1.</param>
/// <param name="Loss">The mean cross entropy in nats per token.</param>
/// <param name="GradientNorm">The norm of the gradients before clipping.</param>
/// <param name="Batch">The position in the data of the rows.</param>
/// <param name="Reason">The value that was too high, and the mean and standard deviation of the preceding steps.</param>
/// <param name="File">
/// The rows as a safetensors file: <c>ids</c>, <c>targets</c> and, if documents are kept apart, <c>documents</c>. Null if the run has no folder.
/// </param>
public sealed record TrainingSpike(long Step, double Loss, double GradientNorm, DataPosition Batch, string Reason, string? File);
