using System.Diagnostics;

namespace Quickstart;

/// <summary>The time that the program may take, from its start.</summary>
sealed class Deadline(TimeSpan allowed)
{
    // reloading a checkpoint, drawing and writing the report
    const double ReportShare = 0.04, MinReportSeconds = 3;

    // a pass without gradient takes about a third of a training step
    const double EvaluationCost = 1.0 / 3, EvaluationShare = 0.12;

    readonly Stopwatch clock = Stopwatch.StartNew();

    /// <summary>Seconds since the start.</summary>
    public double Elapsed => clock.Elapsed.TotalSeconds;

    /// <summary>Seconds left for all but the report.</summary>
    public double Left => allowed.TotalSeconds - Elapsed - Math.Max(MinReportSeconds, ReportShare * allowed.TotalSeconds);

    /// <summary>Returns how many steps of all models fit in, when their measurement at the end is left time for.</summary>
    /// <param name="secondsPerStep">Seconds of one step of every model.</param>
    /// <param name="stepsToMeasure">The held-out text in steps.</param>
    /// <param name="reserve">Seconds that are left for other things.</param>
    public long StepsLeft(double secondsPerStep, double stepsToMeasure, double reserve = 0) =>
        (long)Math.Max(0, (Left - reserve - MeasurementSeconds(secondsPerStep, stepsToMeasure)) / secondsPerStep);

    double MeasurementSeconds(double secondsPerStep, double stepsToMeasure) =>
        Math.Min(stepsToMeasure * secondsPerStep * EvaluationCost, EvaluationShare * allowed.TotalSeconds);

    /// <summary>Returns the share of the held-out text, at most 1, that there is time to measure.</summary>
    public double ShareToMeasure(double secondsPerStep, double stepsToMeasure) =>
        Math.Clamp((Left - 1) / (stepsToMeasure * secondsPerStep * EvaluationCost), 0, 1);
}
