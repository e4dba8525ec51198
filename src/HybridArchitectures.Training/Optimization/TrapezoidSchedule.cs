namespace HybridArchitectures.Training;

/// <summary>Warm-up, a stable phase at the peak, and a linear cool-down to the floor ("WSD"). The defaults are the shares of arXiv 2510.04800,
/// appendix E.</summary>
public sealed record TrapezoidSchedule : LearningRateSchedule
{
    /// <summary>A warm-up over a quarter of the run and a cool-down over its last fifth.</summary>
    public TrapezoidSchedule() => WarmUp = 0.25;

    /// <summary>Share of the run in which the rate falls, in [0, 1 - <see cref="LearningRateSchedule.WarmUp"/>].</summary>
    public double CoolDown { get; init; } = 0.2;

    /// <inheritdoc/>
    protected override double Shape(double progress) => progress <= 1 - CoolDown ? 1 : (1 - progress) / CoolDown;

    /// <inheritdoc/>
    public override void Check()
    {
        base.Check();
        bool fits = CoolDown is >= 0 and <= 1 && WarmUp + CoolDown <= 1 + 1e-12;
        Refuse.Unless(fits, CoolDown, nameof(CoolDown), $"a share of the run in [0, {1 - WarmUp}], which the warm-up leaves");
    }
}
