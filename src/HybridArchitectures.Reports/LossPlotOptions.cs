namespace HybridArchitectures.Reports;

/// <summary>Contains the options of a loss plot.</summary>
public sealed record LossPlotOptions
{
    /// <summary>Gets or sets the title above the plot. The default is empty, which means none.</summary>
    public string Title { get; init; } = "";

    /// <summary>Gets or sets the unit of all losses, which labels the vertical axis. The default is "bits per byte".</summary>
    public string Unit { get; init; } = "bits per byte";

    /// <summary>Gets or sets the horizontal axis. The default is <see cref="LossAxis.Tokens"/>.</summary>
    public LossAxis Axis { get; init => field = Require.Defined(value, nameof(Axis)); } = LossAxis.Tokens;

    /// <summary>
    /// Gets or sets the fraction of the points of a curve, at most 0.5, over which one smoothed value averages. The default is 0.04. 0 draws only the
    /// raw losses.
    /// </summary>
    public double Smoothing { get; init; } = 0.04;

    /// <summary>Gets or sets the width in pixels, before <see cref="Scale"/>. The default is 960.</summary>
    public int Width { get; init; } = 960;

    /// <summary>Gets or sets the height in pixels, before <see cref="Scale"/>. The default is 480.</summary>
    public int Height { get; init; } = 480;

    /// <summary>Gets or sets the number of image pixels per pixel. The default, 2, suits paper and high-resolution screens.</summary>
    public double Scale { get; init; } = 2;

    internal void Check()
    {
        ArgumentNullException.ThrowIfNull(Title);
        ArgumentNullException.ThrowIfNull(Unit);
        if (!Enum.IsDefined(Axis)) throw Require.OutOfRange(nameof(Axis), (int)Axis, "a value of LossAxis");
        if (!(Smoothing is >= 0 and <= 0.5))
            throw Require.OutOfRange(nameof(Smoothing), Smoothing, "0 to 0.5");
        if (Width is < 200 or > 8192) throw Require.OutOfRange(nameof(Width), Width, "200 to 8192 pixels");
        if (Height is < 150 or > 8192)
            throw Require.OutOfRange(nameof(Height), Height, "150 to 8192 pixels");
        if (!(Scale is >= 0.5 and <= 8)) throw Require.OutOfRange(nameof(Scale), Scale, "0.5 to 8");
    }
}
