namespace HybridArchitectures.Reports;

/// <summary>Checks the arguments of public methods.</summary>
static class ReportChecks
{
    public static void Curves(IReadOnlyList<LossCurve> curves)
    {
        ArgumentNullException.ThrowIfNull(curves);
        for (int i = 0; i < curves.Count; i++)
        {
            if (curves[i] is not { Name: { } name, Points: { } points })
                throw Require.Unfit(nameof(curves), $"curve {i} has no name or points", "both");
            Points(name, points, nameof(curves));
        }
    }

    public static void Points(string run, IReadOnlyList<RunPoint> points, string argument)
    {
        for (int i = 0; i < points.Count; i++)
        {
            if (points[i] is not { } point) throw Require.Unfit(argument, $"point {i} of {run} is null", "a point");
            if (point.Step < 0 || point.Tokens < 0 || !(point.Seconds >= 0 && double.IsFinite(point.Seconds)))
                throw Require.Unfit(argument, $"point {i} of {run} is at step {point.Step}, {point.Tokens} tokens, {point.Seconds} s",
                    "no number below 0");
            if (i > 0 && (point.Step < points[i - 1].Step || point.Tokens < points[i - 1].Tokens))
                throw Require.Unfit(argument, $"point {i} of {run} is at step {point.Step}, {point.Tokens} tokens, before the previous point",
                    "points in order of time");
        }
    }

    public static void Baselines(IReadOnlyList<Baseline> baselines)
    {
        for (int i = 0; i < baselines.Count; i++)
        {
            if (baselines[i] is not { Name: not null } baseline)
                throw Require.Unfit(nameof(baselines), $"baseline {i} has no name", "a baseline with a name");
            if (!double.IsFinite(baseline.HeldOutLoss))
                throw Require.Unfit(nameof(baselines), $"baseline {baseline.Name} is {baseline.HeldOutLoss}", "a finite loss");
        }
    }

    public static void Facts(string owner, IReadOnlyList<ReportFact> facts)
    {
        for (int i = 0; i < facts.Count; i++)
            if (facts[i] is not { Name: not null, Value: not null })
                throw Require.Unfit(nameof(facts), $"fact {i} of {owner} has no name or value", "both");
    }
}
