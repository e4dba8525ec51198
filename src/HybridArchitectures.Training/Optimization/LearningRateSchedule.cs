using System.Text.Json.Serialization;

namespace HybridArchitectures.Training;

/// <summary>
/// How the learning rate goes over a run, as a share of its peak. A run's length is 1 here: a schedule says where its phases begin and end as fractions of it,
/// so the same one serves a budget of steps, tokens or time.
/// </summary>
[JsonPolymorphic(TypeDiscriminatorPropertyName = "kind")]
[JsonDerivedType(typeof(TrapezoidSchedule), "trapezoid")]
[JsonDerivedType(typeof(CosineSchedule), "cosine")]
[JsonDerivedType(typeof(LinearSchedule), "linear")]
public abstract record LearningRateSchedule
{
    /// <summary>Share of the run in which the rate rises linearly from 0 to its peak, in [0, 1].</summary>
    public double WarmUp { get; init; }

    /// <summary>The share of the peak that the rate ends at, in [0, 1].</summary>
    public double Floor { get; init; }

    /// <summary>The rate of one step, as a share of the peak.</summary>
    /// <param name="progress">How much of the run is done before the step: step / steps, or elapsed / budget; in [0, 1].</param>
    /// <param name="stepLength">What share of the run one step takes: 1 / steps. The warm-up counts the step itself, so the first step's rate is not 0.</param>
    public double Factor(double progress, double stepLength = 0)
    {
        Refuse.Unless(progress is >= 0 and <= 1, progress, nameof(progress), "a number in [0, 1]");
        Refuse.Unless(stepLength is >= 0 and <= 1, stepLength, nameof(stepLength), "a number in [0, 1]");
        Check();
        return progress < WarmUp ? Math.Min(1, (progress + stepLength) / WarmUp) : Floor + (1 - Floor) * Shape(progress);
    }

    /// <summary>The rate after the warm-up, 1 at the peak and 0 at the floor.</summary>
    /// <param name="progress">In [<see cref="WarmUp"/>, 1].</param>
    protected abstract double Shape(double progress);

    /// <summary>How much of what follows the warm-up is done, in [0, 1].</summary>
    protected double AfterWarmUp(double progress) => WarmUp >= 1 ? 0 : (progress - WarmUp) / (1 - WarmUp);

    /// <summary>Refuses fractions outside their range.</summary>
    public virtual void Check()
    {
        Refuse.Unless(WarmUp is >= 0 and <= 1, WarmUp, nameof(WarmUp), "a share of the run in [0, 1]");
        Refuse.Unless(Floor is >= 0 and <= 1, Floor, nameof(Floor), "a share of the peak rate in [0, 1]");
    }
}
