namespace HybridArchitectures.Training.Optimization;

/// <summary>
/// Implements a warm-up, a constant phase at the peak, and a linear cool-down to the floor ("WSD"). The defaults are those of arXiv 2510.04800,
/// appendix E.
/// </summary>
public sealed record TrapezoidSchedule : LearningRateSchedule
{
    /// <summary>Creates a schedule with a warm-up over 25 % of the run and a cool-down over its last 20 %.</summary>
    public TrapezoidSchedule() => WarmUp = 0.25;

    /// <summary>
    /// Gets or sets the fraction of the run in which the rate falls, in [0, 1 - <see cref="LearningRateSchedule.WarmUp"/>]. The default is 0.2.
    /// </summary>
    public double CoolDown { get; init; } = 0.2;

    /// <inheritdoc/>
    protected override double Shape(double progress) => progress <= 1 - CoolDown ? 1 : (1 - progress) / CoolDown;

    /// <inheritdoc/>
    public override void Check()
    {
        base.Check();
        bool fits = CoolDown is >= 0 and <= 1 && WarmUp + CoolDown <= 1 + 1e-12;
        Require.InRange(fits, nameof(CoolDown), CoolDown, $"a fraction of the run in [0, {1 - WarmUp}], which the warm-up leaves");
    }
}
