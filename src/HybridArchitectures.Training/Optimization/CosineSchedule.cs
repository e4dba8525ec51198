namespace HybridArchitectures.Training.Optimization;

/// <summary>
/// Implements a warm-up, and then half a cosine from the peak to the floor: floor + (1 - floor)(1 + cos πx) / 2 (arXiv 1608.03983, without restarts).
/// </summary>
public sealed record CosineSchedule : LearningRateSchedule
{
    /// <inheritdoc/>
    protected override double Shape(double progress) => (1 + Math.Cos(Math.PI * AfterWarmUp(progress))) / 2;
}
