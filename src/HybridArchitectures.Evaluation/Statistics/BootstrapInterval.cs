using System.Globalization;

namespace HybridArchitectures.Evaluation.Statistics;

/// <summary>Contains a number with its bootstrap interval of 95 %.</summary>
/// <param name="Value">The number, computed from all samples.</param>
/// <param name="Low">The 2.5 % quantile of the resampled numbers.</param>
/// <param name="High">The 97.5 % quantile of the resampled numbers.</param>
public sealed record BootstrapInterval(double Value, double Low, double High)
{
    internal static BootstrapInterval From(double value, IEnumerable<double> resampled)
    {
        double[] sorted = [.. resampled.Where(number => !double.IsNaN(number)).Order()];
        if (sorted.Length == 0) return new(value, double.NaN, double.NaN);
        double At(double share)
        {
            double rank = share * (sorted.Length - 1);
            int below = (int)rank, above = Math.Min(below + 1, sorted.Length - 1);
            // infinite numbers have no difference
            return rank == below || sorted[above] == sorted[below] ? sorted[below]
                : sorted[below] + (rank - below) * (sorted[above] - sorted[below]);
        }
        return new(value, At(0.025), At(0.975));
    }

    /// <summary>Returns a text such as <c>0.34 [0.31, 0.36]</c>.</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Value:0.####} [{Low:0.####}, {High:0.####}]");
}
