namespace HybridArchitectures.Training;

/// <summary>A step that a <see cref="SpikeGuard"/> found.</summary>
/// <param name="Step">The step, counted from 1.</param>
/// <param name="Loss">Its mean cross entropy in nats per token.</param>
/// <param name="GradientNorm">The norm of its gradients before clipping.</param>
/// <param name="Batch">Where in the data its rows begin.</param>
/// <param name="Reason">Which number was too large, and the mean and deviation of the steps before.</param>
/// <param name="File">Its rows as safetensors: <c>ids</c>, <c>targets</c> and, where documents are kept apart, <c>documents</c>; null where the run has no folder.</param>
public sealed record TrainingSpike(long Step, double Loss, double GradientNorm, DataPosition Batch, string Reason, string? File);
