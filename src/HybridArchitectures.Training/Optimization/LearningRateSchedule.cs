using System.Text.Json.Serialization;

namespace HybridArchitectures.Training.Optimization;

/// <summary>
/// Defines the learning rate over a run as a fraction of its peak. The length of a run is 1, and phases begin and end at fractions of it. The same
/// schedule therefore works for durations in steps, tokens or time.
/// </summary>
[JsonPolymorphic(TypeDiscriminatorPropertyName = "kind")]
[JsonDerivedType(typeof(TrapezoidSchedule), "trapezoid")]
[JsonDerivedType(typeof(CosineSchedule), "cosine")]
[JsonDerivedType(typeof(LinearSchedule), "linear")]
public abstract record LearningRateSchedule
{
    /// <summary>Gets or sets the fraction of the run in which the rate rises linearly from 0 to its peak, in [0, 1].</summary>
    public double WarmUp { get; init; }

    /// <summary>Gets or sets the fraction of the peak at which the rate ends, in [0, 1]. The default is 0.</summary>
    public double Floor { get; init; }

    /// <summary>Returns the rate of one step as a fraction of the peak.</summary>
    /// <param name="progress">The fraction of the run before the step: step / steps, or elapsed / duration, in [0, 1].</param>
    /// <param name="stepLength">
    /// The fraction of the run that one step takes: 1 / steps. The warm-up counts the step itself, so the rate of the first step is not 0.
    /// </param>
    public double Factor(double progress, double stepLength = 0)
    {
        Require.InRange(progress is >= 0 and <= 1, nameof(progress), progress, "a number in [0, 1]");
        Require.InRange(stepLength is >= 0 and <= 1, nameof(stepLength), stepLength, "a number in [0, 1]");
        Check();
        return progress < WarmUp ? Math.Min(1, (progress + stepLength) / WarmUp) : Floor + (1 - Floor) * Shape(progress);
    }

    /// <summary>Returns the rate after the warm-up: 1 at the peak, and 0 at the floor.</summary>
    /// <param name="progress">The progress in [<see cref="WarmUp"/>, 1].</param>
    protected abstract double Shape(double progress);

    /// <summary>Returns the fraction of the part after the warm-up that is done, in [0, 1].</summary>
    protected double AfterWarmUp(double progress) => WarmUp >= 1 ? 0 : (progress - WarmUp) / (1 - WarmUp);

    /// <summary>Checks that all fractions are in their ranges.</summary>
    public virtual void Check()
    {
        Require.InRange(WarmUp is >= 0 and <= 1, nameof(WarmUp), WarmUp, "a fraction of the run in [0, 1]");
        Require.InRange(Floor is >= 0 and <= 1, nameof(Floor), Floor, "a fraction of the peak rate in [0, 1]");
    }
}
