namespace Quickstart;

/// <summary>Plans the time of the program, from its start.</summary>
/// <param name="allowed">The time of the whole program.</param>
/// <param name="time">The clock.</param>
sealed class Deadline(TimeSpan allowed, TimeProvider time)
{
    // reloading a checkpoint, drawing and writing the report
    const double ReportShare = 0.04, MinReportSeconds = 3;

    // a pass without gradient takes about a third of a training step
    const double EvaluationCost = 1.0 / 3, EvaluationShare = 0.12;

    readonly long start = time.GetTimestamp();

    /// <summary>Gets the seconds since the start.</summary>
    public double Elapsed => time.GetElapsedTime(start).TotalSeconds;

    /// <summary>Gets the seconds left before the report.</summary>
    public double Left => allowed.TotalSeconds - Elapsed - Math.Max(MinReportSeconds, ReportShare * allowed.TotalSeconds);

    /// <summary>Returns the number of steps of all models that fit, with time reserved for the final measurement.</summary>
    /// <param name="secondsPerStep">The seconds of one step of every model.</param>
    /// <param name="stepsToMeasure">The cost of measuring the held-out text, in steps.</param>
    /// <param name="reserve">The seconds reserved for other work.</param>
    public long StepsLeft(double secondsPerStep, double stepsToMeasure, double reserve = 0) =>
        (long)Math.Max(0, (Left - reserve - MeasurementSeconds(secondsPerStep, stepsToMeasure)) / secondsPerStep);

    double MeasurementSeconds(double secondsPerStep, double stepsToMeasure) =>
        Math.Min(stepsToMeasure * secondsPerStep * EvaluationCost, EvaluationShare * allowed.TotalSeconds);

    /// <summary>Returns the share of the held-out text, at most 1, that can be measured in the remaining time.</summary>
    public double ShareToMeasure(double secondsPerStep, double stepsToMeasure) =>
        Math.Clamp((Left - 1) / (stepsToMeasure * secondsPerStep * EvaluationCost), 0, 1);
}
