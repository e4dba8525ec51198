namespace Quickstart;

/// <summary>Fits the number of steps to the time that is left, before the first round and after each round.</summary>
/// <param name="deadline">The time of the program.</param>
/// <param name="stepsToMeasure">The cost of measuring the held-out text, in steps.</param>
sealed class RacePlanner(Deadline deadline, double stepsToMeasure)
{
    /// <summary>Gets the share of the steps, at the end, in which the learning rate falls.</summary>
    public const double CoolDown = 0.4;

    const int Rounds = 12, LastRounds = 3;
    const double MinRoundSeconds = 3;

    /// <summary>
    /// Returns the plan of the first round. The first steps are slow, so one round is always run, and the next plan uses its speed.
    /// </summary>
    /// <param name="secondsPerStep">The seconds of one step of every model.</param>
    public RacePlan First(double secondsPerStep)
    {
        long steps = Math.Max(2 * Rounds, deadline.StepsLeft(secondsPerStep, stepsToMeasure));
        return new(steps, 0, Math.Max(1, steps / (2 * Rounds)));
    }

    /// <summary>
    /// Returns the plan of the next round. The learning rate is constant up to the cool-down. Until then, the total number of steps may change in
    /// both directions. Afterwards, it may only fall.
    /// </summary>
    /// <param name="plan">The plan of the round that has ended.</param>
    /// <param name="secondsPerStep">The seconds of one step of every model in that round.</param>
    /// <param name="overhead">The seconds of that round that were not spent on steps.</param>
    public RacePlan Next(RacePlan plan, double secondsPerStep, double overhead)
    {
        // a round takes several times longer than its checkpoints, evaluations and restarts
        long minSteps = Math.Max(1, (long)(Math.Max(MinRoundSeconds, 4 * overhead) / secondsPerStep));
        double whole = secondsPerStep + overhead / Math.Max(minSteps, plan.Steps / Rounds);
        long done = plan.Target, fitting = done + deadline.StepsLeft(whole, stepsToMeasure, reserve: LastRounds * overhead);
        bool stable = done < (1 - CoolDown) * plan.Steps;
        long steps = Math.Max(done + 1, stable ? fitting : Math.Min(plan.Steps, fitting));
        // rounds become short near the end, to detect a machine that slows down
        long round = Math.Clamp((steps - done) / 3, 1, Math.Max(1, steps / Rounds));
        return new(steps, done, Math.Min(steps, done + Math.Max(round, minSteps)));
    }
}
