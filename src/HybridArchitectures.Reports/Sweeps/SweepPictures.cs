using System.Globalization;
using HybridArchitectures.Evaluation.Statistics;
using HybridArchitectures.Evaluation.Tasks;
using HybridArchitectures.Reports.Drawing;

namespace HybridArchitectures.Reports.Sweeps;

/// <summary>Draws the pictures of a sweep report.</summary>
static class SweepPictures
{
    // small enough that letters stay readable where a phone shrinks the picture
    const float Width = 420, Height = 290;

    /// <summary>Draws quality against cost with the Pareto frontier. Other designs are pale.</summary>
    public static Picture Scatter(IReadOnlyList<ScatterPoint> points, SweepAxis axis, string quality, bool isHighBetter)
    {
        var frame = new ChartFrame(Width, Height, points.Select(point => point.Cost),
            points.SelectMany(point => (double[])[point.Quality - (point.Error ?? 0), point.Quality + (point.Error ?? 0)]), axis.IsLogarithmic);
        var front = ParetoFront.Find(points, axis.IsCheapLow, isHighBetter);
        var shapes = new List<Shape>(frame.Axes(axis.Title, quality));
        if (front.Count > 1) shapes.Add(new Shape.Curve([.. Stairs(front, frame, axis.IsCheapLow == !isHighBetter)], Inks.Soft, 1.5f, 0.8f,
            new Dash(5, 4)));
        foreach (var point in points)
        {
            var ink = RunLook.At(point.Index).Ink;
            float x = frame.X(point.Cost), y = frame.Y(point.Quality);
            if (point.Error is { } error) shapes.Add(new Shape.Segment(x, frame.Y(point.Quality - error), x, frame.Y(point.Quality + error), ink,
                1.5f));
            string title = string.Create(CultureInfo.InvariantCulture,
                $"{point.Name}: {point.Quality:0.####}, {axis.Title} {Figures.Short(point.Cost)}");
            shapes.Add(front.Contains(point) ? new Shape.Circle(x, y, 6, ink, Title: title) : new Shape.Circle(x, y, 5, Inks.Paper, ink, title));
        }
        // of many designs, those of the frontier come first, and the others are named where there is space; each point has its name as a title
        int always = points.Count <= SweepPage.MaxNamedDesigns ? points.Count : front.Count;
        var named = points.OrderBy(point => points.Count > always && !front.Contains(point))
            .Select(point => new PointName(point.Name, frame.X(point.Cost), frame.Y(point.Quality), RunLook.At(point.Index).Ink));
        shapes.AddRange(new PointNames(Width, Height - 50, shapes).Place([.. named], always));
        return new Picture(Width, Height, $"{quality} against {axis.Title}",
            $"{points.Count} designs; on the frontier: {string.Join(", ", front.Select(point => point.Name))}", shapes);
    }

    // between two designs of the frontier there is only what either reaches
    static IEnumerable<(float X, float Y)> Stairs(IReadOnlyList<ScatterPoint> front, ChartFrame frame, bool keepsQuality)
    {
        for (int i = 0; i < front.Count; i++)
        {
            if (i > 0)
            {
                var (corner, other) = keepsQuality ? (front[i], front[i - 1]) : (front[i - 1], front[i]);
                yield return (frame.X(corner.Cost), frame.Y(other.Quality));
            }
            yield return (frame.X(front[i].Cost), frame.Y(front[i].Quality));
        }
    }

    /// <summary>Draws the curves of all runs, with one colour per design and one line per seed.</summary>
    public static Picture Curves(string title, string xTitle, string yTitle, IReadOnlyList<(int Index, IReadOnlyList<CurvePoint> Points)> curves)
    {
        var all = curves.SelectMany(curve => curve.Points).ToArray();
        // the first steps of training would press all else flat
        double[] losses = [.. all.Select(point => point.Y).Where(double.IsFinite).Order()];
        double top = losses.Length == 0 ? 1 : losses[(int)Math.Ceiling(0.98 * (losses.Length - 1))];
        var frame = new ChartFrame(Width, Height, all.Select(point => point.X), all.Select(point => Math.Min(top, point.Y)));
        var lines = curves.Where(curve => curve.Points.Count > 0).Select(Shape (curve) => new Shape.Curve(
            [.. curve.Points.Where(point => double.IsFinite(point.Y)).Select(point => (frame.X(point.X), frame.Y(point.Y)))], RunLook.At(curve.Index)
                .Ink, 1.6f, 0.85f));
        return new Picture(Width, Height, title, $"{curves.Count} curves of {yTitle} by {xTitle}",
            [new Shape.Clip(0, 0, Width, Height, [.. lines]), .. frame.Axes(xTitle, yTitle)]);
    }

    /// <summary>Draws losses by scale with their fits and intervals.</summary>
    public static Picture Scaling(IReadOnlyList<FittedCurve> curves, string axis)
    {
        const int steps = 40;
        var points = curves.SelectMany(curve => curve.Curve.Points).ToArray();
        double[] Scales(FittedCurve curve)
        {
            double low = curve.Curve.Points.Min(point => point.Scale), high = curve.MaxScale;
            return [.. Enumerable.Range(0, steps + 1).Select(i => low * Math.Pow(high / low, (double)i / steps))];
        }
        var laws = curves.Select(curve => (curve, law: Scales(curve).Select(scale => (Scale: scale, Loss: curve.Fit.LossAt(scale))).ToArray()))
            .ToArray();
        var frame = new ChartFrame(Width, Height, points.Select(point => point.Scale), points.Select(point => point.Loss), isLogarithmic: true);
        var shapes = new List<Shape>();
        foreach (var (curve, law) in laws)
        {
            var ink = RunLook.At(curve.Index).Ink;
            Shape.Curve Line(Func<BootstrapInterval, double> loss, float width, float opacity, Dash? dash) =>
                new([.. law.Select(at => (frame.X(at.Scale), frame.Y(loss(at.Loss))))], ink, width, opacity, dash);
            shapes.Add(Line(loss => loss.Low, 1, 0.6f, new Dash(3, 3)));
            shapes.Add(Line(loss => loss.High, 1, 0.6f, new Dash(3, 3)));
            shapes.Add(Line(loss => loss.Value, 1.8f, 1, null));
            foreach (var point in curve.Curve.Points)
                shapes.Add(new Shape.Circle(frame.X(point.Scale), frame.Y(point.Loss), 3.5f, ink, Title: string.Create(CultureInfo.InvariantCulture,
                    $"{curve.Curve.Name}: {point.Loss:0.####} at {Figures.Short(point.Scale)} {axis}")));
        }
        var names = laws.Select(item => (item.curve, End: item.law[^1])).Select(item => new PointName(item.curve.Curve.Name, frame.X(item.End.Scale),
            frame.Y(item.End.Loss.Value), RunLook.At(item.curve.Index).Ink)).ToArray();
        shapes.AddRange(new PointNames(Width, Height - 50, shapes).Place(names, names.Length));
        return new Picture(Width, Height, $"Loss by {axis}", $"{curves.Count} fits: {string.Join(", ", curves.Select(curve => curve.Curve.Name))}",
            [new Shape.Clip(0, 0, Width, Height, shapes), .. frame.Axes(axis, "held-out loss (nats per token)")]);
    }

    /// <summary>
    /// Draws a table of numbers as colours. The numbers are in the cells, or in their tooltips if there are more than 16 columns.
    /// </summary>
    public static Picture Heat(HeatMap map, string name)
    {
        const float row = 26, top = 26, size = 11;
        bool isDense = map.Columns.Count > 16;
        float left = Math.Max(60, map.Rows.Max(label => ReportFont.Measure(label, size, bold: false)) + 14);
        float cell = isDense ? 22 : Math.Max(46, map.Columns.Max(label => ReportFont.Measure(label, size, bold: false)) + 10);
        var shapes = new List<Shape>();
        for (int column = 0; column < map.Columns.Count; column++)
            shapes.Add(new Shape.Text(left + (column + 0.5f) * cell, top - 12, map.Columns[column], size, Inks.Soft, Anchor.Middle));
        for (int i = 0; i < map.Rows.Count; i++)
        {
            shapes.Add(new Shape.Text(left - 8, top + (i + 0.5f) * row, map.Rows[i], size, Inks.Soft, Anchor.End));
            for (int column = 0; column < map.Columns.Count; column++)
            {
                if (map.Values[i][column] is not { } value) continue;
                double share = map.Max > map.Min ? Math.Clamp((value - map.Min) / (map.Max - map.Min), 0, 1) : 0;
                Shape box = new Shape.Box(left + column * cell, top + i * row, cell - 2, row - 2, 3, HeatInks.At(share));
                if (isDense) shapes.Add(new Shape.Group("cell", $"{map.Rows[i]}, {map.Columns[column]}: {CellText(value)}", [box]));
                else shapes.AddRange(box, new Shape.Text(left + (column + 0.5f) * cell - 1, top + (i + 0.5f) * row - 1, CellText(value), size,
                    share > 0.55 ? Inks.OnDark : Inks.OnLight, Anchor.Middle));
            }
        }
        float bottom = top + map.Rows.Count * row + 14;
        shapes.Add(new Shape.Text(left, bottom, $"{map.RowTitle} by {map.ColumnTitle}", size, Inks.Soft));
        return new Picture(Math.Max(220, left + map.Columns.Count * cell + 10), bottom + 12, $"{map.Title}, {name}",
            $"{map.RowTitle} by {map.ColumnTitle}", shapes);
    }

    static string CellText(double value) => Math.Abs(value) switch
    {
        >= 10_000 => Figures.Short(value),
        >= 100 => value.ToString("0", CultureInfo.InvariantCulture),
        >= 10 => value.ToString("0.0", CultureInfo.InvariantCulture),
        _ => value.ToString("0.00", CultureInfo.InvariantCulture),
    };
}
