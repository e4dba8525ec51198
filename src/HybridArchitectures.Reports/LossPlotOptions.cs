namespace HybridArchitectures.Reports;

/// <summary>How a loss plot looks.</summary>
public sealed record LossPlotOptions
{
    /// <summary>Line above the plot; empty for none.</summary>
    public string Title { get; init; } = "";

    /// <summary>The unit all losses are in, as the vertical axis names it.</summary>
    public string Unit { get; init; } = "bits per byte";

    /// <summary>What the horizontal axis counts.</summary>
    public LossAxis Axis { get; init; } = LossAxis.Tokens;

    /// <summary>The share of a curve's points, at most 0.5, that one smoothed value averages over. 0 draws the raw losses only.</summary>
    public double Smoothing { get; init; } = 0.04;

    /// <summary>Width in pixels before <see cref="Scale"/>.</summary>
    public int Width { get; init; } = 960;

    /// <summary>Height in pixels before <see cref="Scale"/>.</summary>
    public int Height { get; init; } = 480;

    /// <summary>How many pixels of the image stand for one: 2 suits paper and sharp screens.</summary>
    public double Scale { get; init; } = 2;

    internal void Check()
    {
        ArgumentNullException.ThrowIfNull(Title);
        ArgumentNullException.ThrowIfNull(Unit);
        if (!Enum.IsDefined(Axis)) throw new ArgumentOutOfRangeException(nameof(Axis), Axis, "the axis is not one of LossAxis");
        if (!(Smoothing is >= 0 and <= 0.5)) throw new ArgumentOutOfRangeException(nameof(Smoothing), Smoothing, $"the smoothing is {Smoothing}; expected 0 to 0.5");
        if (Width is < 200 or > 8192) throw new ArgumentOutOfRangeException(nameof(Width), Width, $"the width is {Width} pixels; expected 200 to 8192");
        if (Height is < 150 or > 8192) throw new ArgumentOutOfRangeException(nameof(Height), Height, $"the height is {Height} pixels; expected 150 to 8192");
        if (!(Scale is >= 0.5 and <= 8)) throw new ArgumentOutOfRangeException(nameof(Scale), Scale, $"the scale is {Scale}; expected 0.5 to 8");
    }
}
