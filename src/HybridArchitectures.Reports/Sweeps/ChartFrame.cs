using HybridArchitectures.Reports.Drawing;

namespace HybridArchitectures.Reports.Sweeps;

/// <summary>Represents the axes of a chart with a linear or logarithmic x-axis.</summary>
sealed class ChartFrame
{
    /// <summary>Specifies where the y-axis is, in pixels.</summary>
    public const float Left = 64;

    const float Top = 14, BottomRoom = 46, RightRoom = 20;
    readonly double minX, maxX, minY, maxY;
    readonly bool isLogarithmic;

    /// <summary>Creates axes that contain all numbers, with a margin.</summary>
    public ChartFrame(float width, float height, IEnumerable<double> x, IEnumerable<double> y, bool isLogarithmic = false)
    {
        (Width, Height, this.isLogarithmic) = (width, height, isLogarithmic);
        double[] xs = [.. x.Where(HasTicks).DefaultIfEmpty(1)], ys = [.. y.Where(HasTicks).DefaultIfEmpty(0)];
        (minX, maxX) = Around(isLogarithmic ? Math.Log10(xs.Min()) : xs.Min(), isLogarithmic ? Math.Log10(xs.Max()) : xs.Max());
        (minY, maxY) = Around(ys.Min(), ys.Max());
    }

    public float Width { get; }

    public float Height { get; }

    // the range of such numbers is finite
    static bool HasTicks(double value) => Math.Abs(value) <= 1e300;

    // a range of rounding errors would be too narrow for ticks
    static (double, double) Around(double low, double high)
    {
        double least = Math.Max(1e-15, 1e-12 * Math.Max(Math.Abs(low), Math.Abs(high)));
        double room = high - low > least ? 0.08 * (high - low) : Math.Max(1e-9, Math.Abs(high) * 0.1);
        return (low - room, high + room);
    }

    public float X(double value) =>
        Left + Share(((isLogarithmic ? Math.Log10(value) : value) - minX) / (maxX - minX)) * (Width - Left - RightRoom);

    public float Y(double value) => Height - BottomRoom - Share((value - minY) / (maxY - minY)) * (Height - BottomRoom - Top);

    // numbers far outside are pixels far outside, which a float can hold
    static float Share(double share) => (float)Math.Clamp(share, -1000, 1000);

    /// <summary>Returns the grid lines, their numbers, and the titles of the axes.</summary>
    public IEnumerable<Shape> Axes(string xTitle, string yTitle)
    {
        foreach (double tick in LossFrame.Ticks(minY, maxY, 5))
        {
            yield return new Shape.Segment(Left, Y(tick), Width - RightRoom, Y(tick), Inks.Line, 1, 0.6f);
            yield return new Shape.Text(Left - 8, Y(tick), tick.ToString("0.###", System.Globalization.CultureInfo.InvariantCulture), 11, Inks.Soft,
                Anchor.End);
        }
        foreach (double tick in XTicks())
        {
            yield return new Shape.Segment(X(tick), Height - BottomRoom, X(tick), Height - BottomRoom + 4, Inks.Line);
            yield return new Shape.Text(X(tick), Height - BottomRoom + 14, Figures.Short(tick), 11, Inks.Soft, Anchor.Middle);
        }
        yield return new Shape.Text((Left + Width - RightRoom) / 2, Height - 10, xTitle, 12, Inks.Text, Anchor.Middle);
        yield return new Shape.Text(12, (Top + Height - BottomRoom) / 2, yTitle, 12, Inks.Text, Anchor.Middle, Turned: true);
    }

    IEnumerable<double> XTicks()
    {
        if (!isLogarithmic) return LossFrame.Ticks(minX, maxX, 6);
        double[] steps = maxX - minX > 1.2 ? [1] : maxX - minX > 0.5 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9];
        var decades = Enumerable.Range((int)Math.Floor(minX), (int)Math.Ceiling(maxX) - (int)Math.Floor(minX) + 1);
        return decades.SelectMany(decade => steps.Select(step => step * Math.Pow(10, decade)))
            .Where(tick => Math.Log10(tick) >= minX && Math.Log10(tick) <= maxX);
    }
}
