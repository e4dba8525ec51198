using HybridArchitectures.Training.Data;

namespace HybridArchitectures.Evaluation.Statistics;

/// <summary>
/// Fits the law loss = E + A x^-alpha (arXiv 2203.15556, equation 2, in one variable) to points by least squares. For each alpha in (0, 2], the best
/// E and A follow from a linear system, and alpha is found by a search. E is at least 0, and A is above 0.
/// </summary>
public sealed class ScalingFit
{
    const double MinAlpha = 1e-3, MaxAlpha = 2;

    readonly (double E, double A, double Alpha)[] resampled;
    readonly double unit;

    ScalingFit((double E, double A, double Alpha) law, (double E, double A, double Alpha)[] resampled, double unit)
    {
        (Law, this.resampled, this.unit) = (law, resampled, unit);
        Irreducible = BootstrapInterval.From(law.E, resampled.Select(fit => fit.E));
        Exponent = BootstrapInterval.From(law.Alpha, resampled.Select(fit => fit.Alpha));
    }

    // with scales in units of the smallest one
    (double E, double A, double Alpha) Law { get; }

    /// <summary>Gets E, the limit of the loss at infinite scale, in nats per token.</summary>
    public BootstrapInterval Irreducible { get; }

    /// <summary>Gets the exponent alpha.</summary>
    public BootstrapInterval Exponent { get; }

    /// <summary>Fits the law to points.</summary>
    /// <param name="points">The points, at at least three different scales. A scale may have several points, such as one per seed.</param>
    /// <param name="resamples">The number of bootstrap samples for the intervals. The default value is 500.</param>
    /// <param name="seed">The seed of the bootstrap. The default value is 0.</param>
    /// <remarks>The bootstrap resamples residuals. With few scales, resampled points would often be too few for a fit.</remarks>
    /// <exception cref="ArgumentException">There are fewer than three scales, or a number is not finite.</exception>
    public static ScalingFit Fit(IReadOnlyList<ScalingPoint> points, int resamples = 500, long seed = 0)
    {
        Require.Items(points);
        Require.AtLeast(resamples, 0);
        int scales = points.Select(point => point.Scale).Distinct().Count();
        Require.InRange(scales >= 3, nameof(points), scales, "at least 3 different scales");
        foreach (var point in points)
            if (!(point.Scale > 0) || !double.IsFinite(point.Scale) || !double.IsFinite(point.Loss))
                throw Require.Unfit(nameof(points), $"points holds {point}", "a finite scale above 0 and a finite loss");
        double unit = points.Min(point => point.Scale);
        double[] x = [.. points.Select(point => point.Scale / unit)], y = [.. points.Select(point => point.Loss)];
        var law = Best(x, y);
        // residuals of a fit of three parameters are too small by this factor
        double widening = x.Length > 3 ? Math.Sqrt(x.Length / (x.Length - 3.0)) : 1;
        double[] residuals = [.. x.Select((value, i) => (y[i] - Value(law, value)) * widening)];
        var random = new SeededRandom(seed);
        var fits = new (double, double, double)[resamples];
        for (int i = 0; i < resamples; i++) fits[i] = Best(x, [.. x.Select(value => Value(law, value) + residuals[random.Next(residuals.Length)])]);
        return new ScalingFit(law, fits, unit);
    }

    static double Value((double E, double A, double Alpha) law, double x) => law.E + law.A * Math.Pow(x, -law.Alpha);

    static (double E, double A, double Alpha) Best(double[] x, double[] y)
    {
        // the error over alpha may have two valleys where E meets its bound: a grid first, then the best cell
        const int cells = 200;
        double At(int cell) => MinAlpha * Math.Pow(MaxAlpha / MinAlpha, (double)cell / cells);
        int best = Enumerable.Range(0, cells + 1).MinBy(cell => Solve(x, y, At(cell)).Error);
        double low = At(Math.Max(0, best - 1)), high = At(Math.Min(cells, best + 1)), golden = (Math.Sqrt(5) - 1) / 2;
        for (int i = 0; i < 60; i++)
        {
            double left = high - golden * (high - low), right = low + golden * (high - low);
            if (Solve(x, y, left).Error < Solve(x, y, right).Error) high = right;
            else low = left;
        }
        var found = Solve(x, y, (low + high) / 2);
        return (found.E, found.A, (low + high) / 2);
    }

    static (double E, double A, double Error) Solve(double[] x, double[] y, double alpha)
    {
        double[] powers = [.. x.Select(value => Math.Pow(value, -alpha))];
        double meanPower = powers.Average(), meanLoss = y.Average(), covariance = 0, variance = 0;
        for (int i = 0; i < x.Length; i++)
        {
            covariance += (powers[i] - meanPower) * (y[i] - meanLoss);
            variance += (powers[i] - meanPower) * (powers[i] - meanPower);
        }
        double a = Math.Max(1e-12, covariance / variance), e = meanLoss - a * meanPower;
        if (e < 0)
        {
            e = 0;
            a = powers.Zip(y, (power, loss) => power * loss).Sum() / powers.Sum(power => power * power);
        }
        return (e, a, powers.Zip(y, (power, loss) => Math.Pow(loss - e - a * power, 2)).Sum());
    }

    /// <summary>Returns the loss that the law predicts at a scale.</summary>
    /// <param name="scale">The scale, above 0.</param>
    public BootstrapInterval LossAt(double scale)
    {
        Require.InRange(scale > 0, nameof(scale), scale, "above 0");
        return BootstrapInterval.From(Value(Law, scale / unit), resampled.Select(law => Value(law, scale / unit)));
    }

    /// <summary>Returns the scale at which the law reaches a loss, or infinity if it never does.</summary>
    /// <param name="loss">The loss in nats per token.</param>
    public BootstrapInterval ScaleAt(double loss) =>
        BootstrapInterval.From(ScaleAt(Law, unit, loss), resampled.Select(law => ScaleAt(law, unit, loss)));

    static double ScaleAt((double E, double A, double Alpha) law, double unit, double loss) =>
        loss > law.E ? unit * Math.Pow((loss - law.E) / law.A, -1 / law.Alpha) : double.PositiveInfinity;

    /// <summary>
    /// Returns the ratio of the tokens (or another scale) that another design needs to reach the loss of this design at a scale. If it is above 1,
    /// this design is more efficient. It is infinite if the other design never reaches that loss.
    /// </summary>
    /// <param name="other">The fit of the other design, with the same number of resamples.</param>
    /// <param name="scale">A scale of this design.</param>
    public BootstrapInterval EfficiencyOver(ScalingFit other, double scale)
    {
        ArgumentNullException.ThrowIfNull(other);
        Require.InRange(scale > 0, nameof(scale), scale, "above 0");
        Require.InRange(other.resampled.Length == resampled.Length, nameof(other), other.resampled.Length, $"a fit of {resampled.Length} resamples");
        double Ratio((double E, double A, double Alpha) mine, (double E, double A, double Alpha) theirs) =>
            ScaleAt(theirs, other.unit, Value(mine, scale / unit)) / scale;
        return BootstrapInterval.From(Ratio(Law, other.Law), resampled.Zip(other.resampled, Ratio));
    }
}
