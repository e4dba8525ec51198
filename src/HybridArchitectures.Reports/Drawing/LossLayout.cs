namespace HybridArchitectures.Reports.Drawing;

/// <summary>How a loss chart is laid out, in pixels.</summary>
/// <param name="Width">Width of the picture.</param>
/// <param name="Height">Height of the picture.</param>
/// <param name="Unit">The unit of the losses.</param>
/// <param name="Title">A line above the chart; empty for none.</param>
/// <param name="Legend">Whether the picture has a legend below the chart.</param>
/// <param name="MaxPoints">The number of points that a curve is thinned to.</param>
sealed record LossLayout(float Width, float Height, string Unit, string Title = "", bool Legend = false, int MaxPoints = 400)
{
    const float LeftMargin = 58, RightMargin = 16, TopMargin = 12, BottomMargin = 48, TitleHeight = 30;

    /// <summary>Left edge of the window.</summary>
    public float Left => LeftMargin;

    /// <summary>Right edge of the window.</summary>
    public float Right => Width - RightMargin;

    /// <summary>Upper edge of the window.</summary>
    public float Top => TopMargin + (Title.Length > 0 ? TitleHeight : 0);

    /// <summary>Lower edge of the window.</summary>
    /// <param name="legend">Height of the legend.</param>
    public float Bottom(float legend) => Height - BottomMargin - legend;
}
