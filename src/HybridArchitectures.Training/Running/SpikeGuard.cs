namespace HybridArchitectures.Training.Running;

/// <summary>
/// Detects a step whose loss or gradient norm is far above those of the preceding steps, for example because of one bad batch. A step is a spike if
/// either value is above mean + <see cref="Deviations"/> standard deviations of the last <see cref="Window"/> sound steps. The guard reads values
/// from the device at every step, and computes one more norm of the gradients.
/// </summary>
public sealed record SpikeGuard
{
    /// <summary>Gets or sets what happens at a spike. The default is <see cref="SpikeAction.Skip"/>.</summary>
    public SpikeAction Action { get; init => field = Require.Defined(value, nameof(Action)); } = SpikeAction.Skip;

    /// <summary>Gets or sets the number of standard deviations above the mean from which a step is a spike. The default is 6.</summary>
    public double Deviations { get; init; } = 6;

    /// <summary>
    /// Gets or sets the number of preceding sound steps with which a step is compared. No step is judged until half of them exist. The default is
    /// 128.
    /// </summary>
    public int Window { get; init; } = 128;

    /// <summary>
    /// Gets or sets the maximum number of consecutive steps that are skipped. One more ends the run, because the batch is then not the reason. The
    /// default is 5.
    /// </summary>
    public int MaxConsecutiveSkips { get; init; } = 5;

    internal void Check()
    {
        Require.InRange(Enum.IsDefined(Action), nameof(Action), Action, $"{SpikeAction.Skip} or {SpikeAction.Stop}");
        Require.InRange(Deviations > 0 && double.IsFinite(Deviations), nameof(Deviations), Deviations, "a finite number above 0");
        Require.InRange(Window >= 4, nameof(Window), Window, "at least 4 steps");
        Require.InRange(MaxConsecutiveSkips > 0, nameof(MaxConsecutiveSkips), MaxConsecutiveSkips, "at least 1 step");
    }
}
