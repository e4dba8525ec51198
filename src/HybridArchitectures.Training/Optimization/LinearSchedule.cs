namespace HybridArchitectures.Training.Optimization;

/// <summary>Implements a warm-up, and then a straight line from the peak to the floor.</summary>
public sealed record LinearSchedule : LearningRateSchedule
{
    /// <inheritdoc/>
    protected override double Shape(double progress) => 1 - AfterWarmUp(progress);
}
