using System.Globalization;

namespace HybridArchitectures.Training.Running;

/// <summary>Contains the losses and norms with which the next step is compared. It is saved with a run.</summary>
sealed record SpikeWatch
{
    public List<double> Losses { get; init; } = [];

    public List<double> Norms { get; init; } = [];

    /// <summary>Gets or sets the number of steps skipped in the run.</summary>
    public long Skipped { get; set; }

    /// <summary>Gets or sets the number of steps skipped since the last sound step.</summary>
    public int ConsecutiveSkips { get; set; }

    /// <summary>Returns why a step is a spike, or null if it is sound. A sound step counts for later ones.</summary>
    public string? Judge(SpikeGuard guard, double loss, double norm)
    {
        if (!double.IsFinite(loss) || !double.IsFinite(norm)) return null;     // another guard handles these
        if ((Above("loss", Losses, loss, guard) ?? Above("gradient norm", Norms, norm, guard)) is { } reason) return reason;
        ConsecutiveSkips = 0;
        Add(Losses, loss, guard.Window);
        Add(Norms, norm, guard.Window);
        return null;
    }

    static string? Above(string what, List<double> earlier, double value, SpikeGuard guard)
    {
        if (earlier.Count < (guard.Window + 1) / 2) return null;
        double mean = earlier.Average(), deviation = Math.Sqrt(earlier.Sum(item => (item - mean) * (item - mean)) / earlier.Count);
        return value <= mean + guard.Deviations * deviation ? null
            : string.Create(CultureInfo.InvariantCulture,
            $"{what} {value:g6}, after {earlier.Count} steps of {mean:g6} with a standard deviation of {deviation:g3}");
    }

    static void Add(List<double> list, double value, int window)
    {
        list.Add(value);
        if (list.Count > window) list.RemoveRange(0, list.Count - window);
    }
}
