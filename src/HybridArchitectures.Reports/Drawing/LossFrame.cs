namespace HybridArchitectures.Reports.Drawing;

/// <summary>The series of a loss plot in its own coordinates and the window of them that is shown; shared by the PNG and the page's chart.</summary>
sealed class LossFrame
{
    /// <summary>One run's series: the raw and the smoothed training loss over the same x, and the held-out loss.</summary>
    public sealed record Series(string Name, double[] X, double[] Raw, double[] Smooth, double[] HeldOutX, double[] HeldOut);

    public IReadOnlyList<Series> Runs { get; }

    public IReadOnlyList<Baseline> Baselines { get; }

    public double Right { get; }

    public double Bottom { get; }

    public double Top { get; }

    public string XLabel { get; }

    public LossFrame(IReadOnlyList<LossCurve> curves, IReadOnlyList<Baseline> baselines, LossAxis axis, double smoothing)
    {
        Baselines = baselines;
        double longest = axis == LossAxis.Seconds ? curves.SelectMany(curve => curve.Points).Select(point => point.Seconds).Append(0).Max() : 0;
        (double unit, XLabel) = axis switch
        {
            LossAxis.Tokens => (1.0, "tokens"),
            LossAxis.Steps => (1.0, "steps"),
            _ => longest switch { < 180 => (1.0, "seconds"), < 3 * 3600 => (60.0, "minutes"), _ => (3600.0, "hours") },
        };
        Runs = [.. curves.Select(curve => Read(curve, axis, unit, smoothing))];
        Right = Runs.SelectMany(run => run.X.Concat(run.HeldOutX)).Append(0).Max();
        if (Right <= 0) Right = 1;
        (Bottom, Top) = Window();
    }

    /// <summary>The height of the straight line fitted to the window around each value: unlike a mean it neither lags nor bends at the ends.</summary>
    public static double[] Smoothed(double[] values, double share)
    {
        int reach = (int)(values.Length * share / 2);
        // sums up to each index of y and of index * y
        var sums = new double[values.Length + 1];
        var moments = new double[values.Length + 1];
        for (int i = 0; i < values.Length; i++) (sums[i + 1], moments[i + 1]) = (sums[i] + values[i], moments[i] + i * values[i]);
        return [.. values.Select((_, i) =>
        {
            int from = Math.Max(0, i - reach), to = Math.Min(values.Length, i + reach + 1), count = to - from;
            double mean = (sums[to] - sums[from]) / count, centre = (from + to - 1) / 2.0;
            double spread = count * ((double)count * count - 1) / 12;
            double slope = spread == 0 ? 0 : (moments[to] - moments[from] - centre * (sums[to] - sums[from])) / spread;
            return mean + slope * (i - centre);
        })];
    }

    /// <summary>About <paramref name="count"/> round values from 0 or <paramref name="low"/> to <paramref name="high"/>.</summary>
    public static IReadOnlyList<double> Ticks(double low, double high, int count)
    {
        double rough = (high - low) / count, power = Math.Pow(10, Math.Floor(Math.Log10(rough)));
        double step = new[] { 1, 2, 2.5, 5, 10 }.First(factor => factor * power >= rough * 0.999) * power;
        var ticks = new List<double>();
        for (long i = (long)Math.Ceiling(low / step - 1e-9); i * step <= high + step * 1e-9; i++) ticks.Add(i * step);
        return ticks;
    }

    /// <summary>Where along x the label of the n-th shown baseline, above its line, is centred: at the first place that no curve crosses, else the one farthest from all. Neighbours begin at other places.</summary>
    public double LabelAt(int index, double loss)
    {
        double[] places = [.. Enumerable.Range(index, 3).Select(i => (i % 3) switch { 0 => 0.5, 1 => 0.3, _ => 0.7 }), 0.87, 0.13];
        return Right * (places.Cast<double?>().FirstOrDefault(place => Room(place!.Value, loss) >= 0.02) ?? places.MaxBy(place => Room(place, loss)));
    }

    /// <summary>The same for a note under the upper edge.</summary>
    public double NoteAt() => LabelAt(0, Top - LabelHeight * (Top - Bottom));

    const double LabelHeight = 0.06, LabelReach = 0.1;                          // of the window; to either side

    // how far curves stay from a label there, of the window; negative where one goes through it
    double Room(double place, double loss)
    {
        var samples = Enumerable.Range(0, 11).Select(i => Right * (place + LabelReach * (i - 5) / 5)).ToArray();
        return Runs.SelectMany(run => samples.Select(x => Height(run.X, run.Smooth, x)).Concat(samples.Select(x => Height(run.HeldOutX, run.HeldOut, x))))
            .Where(double.IsFinite).Select(y => (y - loss) / (Top - Bottom)).Select(above => above < 0 ? -above : above - LabelHeight).Append(1).Min();
    }

    // on the line through the points, NaN beside it
    static double Height(double[] xs, double[] ys, double x)
    {
        int after = Array.FindIndex(xs, other => other >= x);
        if (after < 0 || (after == 0 && xs[0] > x)) return double.NaN;
        return after == 0 ? ys[0] : ys[after - 1] + (ys[after] - ys[after - 1]) * (x - xs[after - 1]) / (xs[after] - xs[after - 1]);
    }

    /// <summary>Whether the baseline's line lies inside the window; those of weak baselines may lie above it.</summary>
    public bool Shows(Baseline baseline) => baseline.HeldOutLoss >= Bottom && baseline.HeldOutLoss <= Top;

    // The first steps fall from the height of a uniform guess, and weak baselines lie far up; showing them would press everything of interest into a thin band.
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
        // a loss that overflowed cannot be drawn; the rest of its curve can
        var training = curve.Points.Where(point => point.TrainingLoss is { } loss && double.IsFinite(loss)).ToArray();
        var heldOut = curve.Points.Where(point => point.HeldOutLoss is { } loss && double.IsFinite(loss)).ToArray();
        double[] raw = [.. training.Select(point => point.TrainingLoss!.Value)];
        return new(curve.Name, [.. training.Select(At)], raw, Smoothed(raw, smoothing), [.. heldOut.Select(At)], [.. heldOut.Select(point => point.HeldOutLoss!.Value)]);
    }
}
