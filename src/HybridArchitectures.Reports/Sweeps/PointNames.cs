using HybridArchitectures.Reports.Drawing;

namespace HybridArchitectures.Reports.Sweeps;

/// <summary>
/// Places the names of the points of a chart: near their points, inside the picture, off points and other names, and off lines if possible.
/// </summary>
/// <param name="width">The width of the room for names in pixels.</param>
/// <param name="height">The height of that room in pixels.</param>
/// <param name="shapes">What is drawn already.</param>
sealed class PointNames(float width, float height, IEnumerable<Shape> shapes)
{
    const float Size = 11, Half = 7, Radius = 7, Crossing = 80, Hiding = 40, Near = 24;
    const int Crowd = 16;

    static readonly float[] Distances = [9, 16, 24, 34, 46, 60, 76, 94, 114, 136];
    static readonly (float X, float Y)[] Directions = [(1, 0), (-1, 0), (0.7f, -0.7f), (0.7f, 0.7f), (-0.7f, -0.7f), (-0.7f, 0.7f), (0, -1), (0, 1)];

    readonly Rectangle[] lines = [.. shapes.SelectMany(Lines)];
    readonly List<Rectangle> taken = [];

    /// <summary>
    /// Returns the names as texts. A name that is not next to its point has a thin line to it, in the colour of the point.
    /// </summary>
    /// <param name="points">The points, the most important ones first.</param>
    /// <param name="always">
    /// The number of first points whose names are drawn even where there is no space. Among more than 16 points, those of others are drawn
    /// only close to their points.
    /// </param>
    public IReadOnlyList<Shape> Place(IReadOnlyList<PointName> points, int always)
    {
        taken.AddRange(points.Select(point => Rectangle.Around(point.X, point.Y, Radius)));
        var drawn = new List<Shape>();
        for (int i = 0; i < points.Count; i++)
        {
            var point = points[i];
            // the font of a browser can be wider
            float length = 1.15f * ReportFont.Measure(point.Name, Size, bold: false);
            // among crowded points, long lines of names that may be left out would cross each other
            bool isLimited = points.Count > Crowd && i >= always;
            var free = Candidates(point, length).Where(candidate => IsInside(candidate.Box) && !taken.Any(candidate.Box.Meets)
                && !(isLimited && (candidate.Distance > Near || lines.Any(candidate.Box.Meets)))).ToArray();
            if (free.Length == 0 && i >= always) continue;
            var chosen = free.Length > 0 ? free.MinBy(candidate => Price(point, candidate)) : LeastBad(point, length);
            taken.Add(chosen.Box);
            if (chosen.Distance > Distances[1])
                drawn.Add(new Shape.Segment(point.X + Radius * chosen.X, point.Y + Radius * chosen.Y, point.X + chosen.Distance * chosen.X,
                    point.Y + chosen.Distance * chosen.Y, point.Ink, 0.8f, 0.8f));
            drawn.Add(new Shape.Text(chosen.Box.Left, (chosen.Box.Top + chosen.Box.Bottom) / 2, point.Name, Size, Inks.Text));
        }
        return drawn;
    }

    static IEnumerable<Candidate> Candidates(PointName point, float length) =>
        from distance in Distances
        from direction in Directions
        let x = point.X + distance * direction.X
        let y = point.Y + distance * direction.Y
        let left = direction.X > 0 ? x : direction.X < 0 ? x - length : x - length / 2
        let middle = direction.X == 0 ? y + Half * direction.Y : y
        select new Candidate(new(left, middle - Half, left + length, middle + Half), distance, direction.X, direction.Y);

    bool IsInside(Rectangle box) => box.Left > ChartFrame.Left && box.Right < width && box.Top > 0 && box.Bottom < height;

    // inside the picture if possible, over few other names
    Candidate LeastBad(PointName point, float length) => Candidates(point, length).OrderBy(candidate => !IsInside(candidate.Box))
        .ThenBy(candidate => taken.Count(candidate.Box.Meets)).ThenBy(candidate => Price(point, candidate)).First();

    // distance, lines that cross the name, and points and names that the line to it would hide
    float Price(PointName point, Candidate candidate)
    {
        int hidden = 0;
        for (float at = Radius + 3; at < candidate.Distance; at += 3)
        {
            var dot = Rectangle.Around(point.X + at * candidate.X, point.Y + at * candidate.Y, 1);
            if (taken.Any(box => box.Meets(dot) && !box.Contains(point.X, point.Y))) hidden++;
        }
        return candidate.Distance + Crossing * lines.Count(candidate.Box.Meets) + Hiding * hidden;
    }

    // the bars of errors and the frontier, which consist of horizontal and vertical lines; lines of the grid may cross a name
    static IEnumerable<Rectangle> Lines(Shape shape) => shape switch
    {
        Shape.Segment bar when bar.X1 == bar.X2 && bar.Stroke != Inks.Line => [Rectangle.Between((bar.X1, bar.Y1), (bar.X2, bar.Y2))],
        Shape.Curve frontier => frontier.Points.Zip(frontier.Points.Skip(1), Rectangle.Between),
        _ => [],
    };

    readonly record struct Candidate(Rectangle Box, float Distance, float X, float Y);

    readonly record struct Rectangle(float Left, float Top, float Right, float Bottom)
    {
        public static Rectangle Around(float x, float y, float radius) => new(x - radius, y - radius, x + radius, y + radius);

        public static Rectangle Between((float X, float Y) from, (float X, float Y) to) =>
            new(Math.Min(from.X, to.X) - 1, Math.Min(from.Y, to.Y) - 1, Math.Max(from.X, to.X) + 1, Math.Max(from.Y, to.Y) + 1);

        public bool Meets(Rectangle other) => Left < other.Right && Right > other.Left && Top < other.Bottom && Bottom > other.Top;

        public bool Contains(float x, float y) => x >= Left && x <= Right && y >= Top && y <= Bottom;
    }
}
