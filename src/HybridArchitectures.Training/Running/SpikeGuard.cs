namespace HybridArchitectures.Training;

/// <summary>
/// Looks out for a step whose loss or gradient norm lies far above those of the steps before it, as one bad batch makes it. A step is a spike if either is above
/// mean + <see cref="Deviations"/> standard deviations of the last <see cref="Window"/> sound steps. It costs one look at the device a step and one more norm of the gradients.
/// </summary>
public sealed record SpikeGuard
{
    /// <summary>What is done about it.</summary>
    public SpikeAction Action { get; init; } = SpikeAction.Skip;

    /// <summary>How many standard deviations above the mean are too many.</summary>
    public double Deviations { get; init; } = 6;

    /// <summary>How many sound steps before it a step is held against; nothing is judged until half of them are there.</summary>
    public int Window { get; init; } = 128;

    /// <summary>How many steps in a row may be skipped; one more ends the run, since it is then not the batch that is bad.</summary>
    public int MaxConsecutiveSkips { get; init; } = 5;

    internal void Check()
    {
        Refuse.Unless(Enum.IsDefined(Action), Action, nameof(Action), $"{SpikeAction.Skip} or {SpikeAction.Stop}");
        Refuse.Unless(Deviations > 0 && double.IsFinite(Deviations), Deviations, nameof(Deviations), "a finite number above 0");
        Refuse.Unless(Window >= 4, Window, nameof(Window), "at least 4 steps");
        Refuse.Unless(MaxConsecutiveSkips > 0, MaxConsecutiveSkips, nameof(MaxConsecutiveSkips), "at least 1 step");
    }
}
