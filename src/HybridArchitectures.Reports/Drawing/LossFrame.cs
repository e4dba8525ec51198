namespace HybridArchitectures.Reports.Drawing;

/// <summary>Contains the series of a loss chart in data coordinates, and the visible window.</summary>
sealed class LossFrame
{
    /// <summary>
    /// Contains the series of one run: the raw and the smoothed training loss over the same x, the held-out loss, and the final held-out loss.
    /// </summary>
    public sealed record Series(string Name, double[] X, double[] Raw, double[] Smooth, double[] HeldOutX, double[] HeldOut, double? Final);

    public IReadOnlyList<Series> Runs { get; }

    public IReadOnlyList<Baseline> Baselines { get; }

    public double Right { get; }

    public double Bottom { get; }

    public double Top { get; }

    public string XLabel { get; }

    public LossFrame(IReadOnlyList<LossCurve> curves, IReadOnlyList<Baseline> baselines, LossAxis axis, double smoothing)
    {
        Baselines = baselines;
        double maxSeconds = axis == LossAxis.Seconds ? curves.SelectMany(curve => curve.Points).Select(point => point.Seconds).Append(0).Max() : 0;
        (double unit, XLabel) = axis switch
        {
            LossAxis.Tokens => (1.0, "tokens"),
            LossAxis.Steps => (1.0, "steps"),
            _ => maxSeconds switch { < 180 => (1.0, "seconds"), < 3 * 3600 => (60.0, "minutes"), _ => (3600.0, "hours") },
        };
        Runs = [.. curves.Select(curve => Read(curve, axis, unit, smoothing))];
        Right = Runs.SelectMany(run => run.X.Concat(run.HeldOutX)).Append(0).Max();
        if (Right <= 0) Right = 1;
        (Bottom, Top) = Window();
    }

    /// <summary>
    /// Smooths a series. The value at each point is that of a straight line, fitted by weighted least squares to the points around it. Unlike a mean,
    /// it neither lags nor bends at the ends. The weight of a point is the number of steps of which it is the mean. The last report of a run is often
    /// the mean of fewer steps; with equal weight, its noise would bend the end of the curve.
    /// </summary>
    /// <param name="values">The loss of each point.</param>
    /// <param name="steps">The step of each point, ascending.</param>
    /// <param name="share">The fraction of all points that one fit covers. 0 returns the values.</param>
    public static double[] Smoothed(double[] values, long[] steps, double share)
    {
        if (share == 0 || values.Length < 2) return values;
        int count = values.Length, reach = (int)(count * share / 2);
        double Weight(int i) => Math.Max(1, steps[i] - (i > 0 ? steps[i - 1] : 0));
        if (reach == 0)
        {
            // too few points for a fit; only a last report with fewer steps is joined with the previous one
            if (Weight(count - 1) >= Weight(count - 2)) return [.. values];
            double joined = (Weight(count - 1) * values[^1] + Weight(count - 2) * values[^2]) / (Weight(count - 1) + Weight(count - 2));
            return [.. values[..^1], joined];
        }
        double length = Math.Max(1, steps[^1] - steps[0]);
        double[] x = [.. steps.Select(step => (step - steps[0]) / length)];
        // prefix sums of w, w x, w x^2, w y and w x y
        var sums = new double[count + 1, 5];
        for (int i = 0; i < count; i++)
        {
            double weight = Weight(i);
            double[] terms = [weight, weight * x[i], weight * x[i] * x[i], weight * values[i], weight * x[i] * values[i]];
            for (int term = 0; term < 5; term++) sums[i + 1, term] = sums[i, term] + terms[term];
        }
        return [.. x.Select((at, i) =>
        {
            // a fit covers a complete window at the ends too; with half of one, the last points would pull it up or down
            int from = Math.Max(0, Math.Min(i - reach, count - 2 * reach - 1)), to = Math.Min(count, i + reach + 1);
            double Sum(int term) => sums[to, term] - sums[from, term];
            double centre = Sum(1) / Sum(0), mean = Sum(3) / Sum(0), spread = Sum(2) / Sum(0) - centre * centre;
            double slope = spread > 1e-12 ? (Sum(4) / Sum(0) - centre * mean) / spread : 0;
            return mean + slope * (at - centre);
        })];
    }

    /// <summary>Returns about <paramref name="count"/> round values from 0 or <paramref name="low"/> to <paramref name="high"/>.</summary>
    public static IReadOnlyList<double> Ticks(double low, double high, int count)
    {
        double rough = (high - low) / count, power = Math.Pow(10, Math.Floor(Math.Log10(rough)));
        double step = new[] { 1, 2, 2.5, 5, 10 }.First(factor => factor * power >= rough * 0.999) * power;
        var ticks = new List<double>();
        for (long i = (long)Math.Ceiling(low / step - 1e-9); i * step <= high + step * 1e-9; i++) ticks.Add(i * step);
        return ticks;
    }

    /// <summary>
    /// Finds a position for the label of a baseline, above or below its line, without curves, other baselines and other labels. The rightmost of
    /// equally good positions is used.
    /// </summary>
    /// <param name="loss">The loss of the baseline.</param>
    /// <param name="width">The width of the label as a fraction of the window.</param>
    /// <param name="height">The height of the label, with the gap to its line, as a fraction of the window.</param>
    /// <param name="taken">The labels that already have a position.</param>
    /// <returns>The rectangle of the label as fractions of the window, from the lower left. Null if every position is crossed.</returns>
    public LabelPlace? PlaceLabel(double loss, double width, double height, IReadOnlyList<LabelPlace> taken)
    {
        double line = (loss - Bottom) / (Top - Bottom);
        var positions =
            from bottom in (double[])[line, line - height]
            where bottom >= 0 && bottom + height <= 1
            from step in Enumerable.Range(0, 41)
            let position = new LabelPlace((1 - width - 0.01) * (1 - step / 40.0), bottom, width, height)
            where !taken.Any(position.Overlaps)
            where !Baselines.Any(other => other.HeldOutLoss != loss && position.Crosses((other.HeldOutLoss - Bottom) / (Top - Bottom)))
            select (Position: position, Room: Math.Min(0.06, Room(position)));
        var best = width <= 0.99 ? positions.OrderByDescending(entry => entry.Room).FirstOrDefault() : default;
        return best.Room > 0 ? best.Position : null;
    }

    // the distance of curves to a position, as a fraction of the window height; 0 if a curve crosses it
    double Room(LabelPlace position)
    {
        double room = 1;
        foreach (var run in Runs)
            foreach (var (xs, ys) in ((double[], double[])[])[(run.X, run.Smooth), (run.HeldOutX, run.HeldOut)])
                foreach (var (low, high) in Pieces(xs, ys, Right * position.Left, Right * (position.Left + position.Width)))
                {
                    double below = position.Bottom - (high - Bottom) / (Top - Bottom);
                    double above = (low - Bottom) / (Top - Bottom) - position.Bottom - position.Height;
                    room = Math.Min(room, Math.Max(0, Math.Max(below, above)));
                }
        return room;
    }

    // the minimum and maximum of each segment of the line through the points, between two x
    static IEnumerable<(double Low, double High)> Pieces(double[] xs, double[] ys, double from, double to)
    {
        double? before = null;
        double[] inside = [.. xs.Select((x, i) => (x, i)).Where(point => point.x > from && point.x < to).Select(point => ys[point.i])];
        foreach (double y in inside.Prepend(Height(xs, ys, from)).Append(Height(xs, ys, to)).Where(double.IsFinite))
        {
            yield return (Math.Min(before ?? y, y), Math.Max(before ?? y, y));
            before = y;
        }
    }

    // on the line through the points; NaN outside its range
    static double Height(double[] xs, double[] ys, double x)
    {
        int after = Array.BinarySearch(xs, x);
        if (after < 0) after = ~after < xs.Length ? ~after : -1;
        if (after < 0 || (after == 0 && xs[0] > x)) return double.NaN;
        return after == 0 ? ys[0] : ys[after - 1] + (ys[after] - ys[after - 1]) * (x - xs[after - 1]) / (xs[after] - xs[after - 1]);
    }

    /// <summary>Returns whether the line of the baseline is inside the window. Weak baselines may be above it.</summary>
    public bool Shows(Baseline baseline) => baseline.HeldOutLoss >= Bottom && baseline.HeldOutLoss <= Top;

    /// <summary>Returns the text that a legend adds to a baseline that is not shown.</summary>
    public string NoteOutside(Baseline baseline) => Shows(baseline) ? "" : "(above the chart)";

    // the first steps fall from the loss of a uniform guess, and weak baselines are far above; showing them would compress the relevant part
    (double, double) Window()
    {
        var raw = Runs.SelectMany(run => run.Raw.Concat(run.HeldOut)).Order().ToArray();
        var lines = Baselines.Select(line => line.HeldOutLoss).ToArray();
        var shown = Runs.SelectMany(run => run.Smooth.Concat(run.HeldOut)).Concat(lines).ToArray();
        if (shown.Length == 0) return (0, 1);
        double low = shown.Min(), high = raw.Length > 0 ? raw[(int)((raw.Length - 1) * 0.95)] : lines.Max();
        if (lines.Length > 0) high = Math.Max(high, lines.Min());
        double reach = low + 1.6 * (high - low);
        high = lines.Where(line => line <= reach).Append(high).Max();
        double room = Math.Max((high - low) * 0.08, 1e-3 * Math.Max(1, Math.Abs(high)));
        return (low - room, high + room);
    }

    static Series Read(LossCurve curve, LossAxis axis, double unit, double smoothing)
    {
        double At(RunPoint point) => axis switch { LossAxis.Tokens => point.Tokens, LossAxis.Steps => point.Step, _ => point.Seconds / unit };
        // a loss that overflowed cannot be drawn, but the rest of its curve can
        var training = curve.Points.Where(point => point.TrainingLoss is { } loss && double.IsFinite(loss)).ToArray();
        var heldOut = curve.Points.Where(point => point.HeldOutLoss is { } loss && double.IsFinite(loss)).ToArray();
        double[] raw = [.. training.Select(point => point.TrainingLoss!.Value)];
        return new(curve.Name, [.. training.Select(At)], raw, Smoothed(raw, [.. training.Select(point => point.Step)], smoothing),
            [.. heldOut.Select(At)], [.. heldOut.Select(point => point.HeldOutLoss!.Value)], curve.FinalHeldOutLoss);
    }
}
