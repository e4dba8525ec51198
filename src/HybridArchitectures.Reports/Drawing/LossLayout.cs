namespace HybridArchitectures.Reports.Drawing;

/// <summary>Contains the layout of a loss chart, in pixels.</summary>
/// <param name="Width">The width of the picture.</param>
/// <param name="Height">The height of the picture.</param>
/// <param name="Unit">The unit of the losses.</param>
/// <param name="Title">The title above the chart. Empty means none.</param>
/// <param name="Legend">Whether there is a legend below the chart.</param>
/// <param name="MaxPoints">The maximum number of points of a curve.</param>
sealed record LossLayout(float Width, float Height, string Unit, string Title = "", bool Legend = false, int MaxPoints = 400)
{
    const float LeftMargin = 58, RightMargin = 16, TopMargin = 12, BottomMargin = 48, TitleHeight = 30;

    /// <summary>Gets the left edge of the window.</summary>
    public float Left => LeftMargin;

    /// <summary>Gets the right edge of the window.</summary>
    public float Right => Width - RightMargin;

    /// <summary>Gets the upper edge of the window.</summary>
    public float Top => TopMargin + (Title.Length > 0 ? TitleHeight : 0);

    /// <summary>Returns the lower edge of the window.</summary>
    /// <param name="legend">The height of the legend.</param>
    public float Bottom(float legend) => Height - BottomMargin - legend;
}
