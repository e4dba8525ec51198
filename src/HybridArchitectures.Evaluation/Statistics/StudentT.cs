namespace HybridArchitectures.Evaluation.Statistics;

/// <summary>Computes probabilities of Student's t-distribution.</summary>
static class StudentT
{
    /// <summary>Returns the probability of a value at least as far from 0: I_x(n / 2, 1 / 2) with x = n / (n + t^2), the regularised incomplete beta
    /// function.</summary>
    /// <param name="t">The value.</param>
    /// <param name="degrees">The degrees of freedom n, at least 1.</param>
    public static double TwoSidedP(double t, int degrees) => double.IsInfinity(t) ? 0 : Beta(degrees / (degrees + t * t), degrees / 2.0, 0.5);

    /// <summary>Returns the value t with a probability <paramref name="p"/> of a value at least as far from 0.</summary>
    /// <param name="p">The probability, in (0, 1).</param>
    /// <param name="degrees">The degrees of freedom, at least 1.</param>
    public static double TwoSidedQuantile(double p, int degrees)
    {
        // the probability falls with t, and a bisection halves the interval to the last bit
        double low = 0, high = 1;
        while (TwoSidedP(high, degrees) > p) high *= 2;
        while (true)
        {
            double middle = low + (high - low) / 2;
            if (middle <= low || middle >= high) return middle;
            if (TwoSidedP(middle, degrees) > p) low = middle;
            else high = middle;
        }
    }

    // by its continued fraction (Abramowitz and Stegun 26.5.8), with Lentz's method
    static double Beta(double x, double a, double b)
    {
        if (x <= 0) return 0;
        if (x >= 1) return 1;
        // the fraction converges quickly below the mean; above it the mirrored one does
        if (x > (a + 1) / (a + b + 2)) return 1 - Beta(1 - x, b, a);
        double front = Math.Exp(a * Math.Log(x) + b * Math.Log(1 - x) - LogBeta(a, b)) / a;
        const double tiny = 1e-300;
        double fraction = 1, c = 1, d = 0;
        for (int i = 0; i <= 400; i++)
        {
            int m = i / 2;
            double term = i == 0 ? 1 : i % 2 == 0 ? m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
                : -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
            d = 1 + term * d;
            d = 1 / (Math.Abs(d) < tiny ? tiny : d);
            c = 1 + term / c;
            if (Math.Abs(c) < tiny) c = tiny;
            fraction *= c * d;
            if (Math.Abs(1 - c * d) < 1e-14) break;
        }
        return front * (fraction - 1);
    }

    static double LogBeta(double a, double b) => LogGamma(a) + LogGamma(b) - LogGamma(a + b);

    // Stirling's series after the recurrence has brought the argument above 10
    static double LogGamma(double x)
    {
        double shift = 0;
        for (; x < 10; x++) shift += Math.Log(x);
        double square = 1 / (x * x);
        return (x - 0.5) * Math.Log(x) - x + 0.5 * Math.Log(2 * Math.PI)
            + (1.0 / 12 - square * (1.0 / 360 - square * (1.0 / 1260 - square / 1680))) / x - shift;
    }
}
