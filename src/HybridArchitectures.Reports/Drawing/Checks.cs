namespace HybridArchitectures.Reports.Drawing;

/// <summary>Checks the arguments of public methods.</summary>
static class Checks
{
    public static void Curves(IReadOnlyList<LossCurve> curves)
    {
        ArgumentNullException.ThrowIfNull(curves);
        for (int i = 0; i < curves.Count; i++)
        {
            if (curves[i] is not { Name: { } name, Points: { } points })
                throw new ArgumentException($"curve {i} is null or has no name or points", nameof(curves));
            Points(name, points, nameof(curves));
        }
    }

    public static void Points(string run, IReadOnlyList<RunPoint> points, string argument)
    {
        for (int i = 0; i < points.Count; i++)
        {
            if (points[i] is not { } point) throw new ArgumentException($"point {i} of {run} is null", argument);
            if (point.Step < 0 || point.Tokens < 0 || !(point.Seconds >= 0 && double.IsFinite(point.Seconds)))
                throw new ArgumentException(
                    $"point {i} of {run} is at step {point.Step}, {point.Tokens} tokens, {point.Seconds} s; expected no number below 0", argument);
            if (i > 0 && (point.Step < points[i - 1].Step || point.Tokens < points[i - 1].Tokens))
                throw new ArgumentException(
                    $"point {i} of {run} is at step {point.Step}, {point.Tokens} tokens, before the previous point; expected points in order of time",
                    argument);
        }
    }

    public static void Baselines(IReadOnlyList<Baseline> baselines)
    {
        for (int i = 0; i < baselines.Count; i++)
        {
            if (baselines[i] is not { Name: not null } baseline)
                throw new ArgumentException($"baseline {i} is null or has no name", nameof(baselines));
            if (!double.IsFinite(baseline.HeldOutLoss))
                throw new ArgumentException($"baseline {baseline.Name} is {baseline.HeldOutLoss}; expected a finite loss", nameof(baselines));
        }
    }

    public static void Facts(string owner, IReadOnlyList<ReportFact> facts)
    {
        for (int i = 0; i < facts.Count; i++)
            if (facts[i] is not { Name: not null, Value: not null })
                throw new ArgumentException($"fact {i} of {owner} is null or has no name or value", nameof(facts));
    }
}
