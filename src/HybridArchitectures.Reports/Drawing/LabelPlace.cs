namespace HybridArchitectures.Reports.Drawing;

/// <summary>Represents the rectangle of a label inside a chart, as fractions of the width and height of the chart, from the lower left.</summary>
readonly record struct LabelPlace(double Left, double Bottom, double Width, double Height)
{
    /// <summary>Returns whether two labels would touch.</summary>
    public bool Overlaps(LabelPlace other) =>
        Left < other.Left + other.Width && other.Left < Left + Width && Bottom < other.Bottom + other.Height && other.Bottom < Bottom + Height;

    /// <summary>Returns whether a horizontal line at a height crosses the label.</summary>
    public bool Crosses(double height) => height > Bottom && height < Bottom + Height;
}
