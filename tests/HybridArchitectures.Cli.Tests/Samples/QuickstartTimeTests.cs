using Quickstart;

namespace HybridArchitectures.Cli.Tests.Samples;

/// <summary>
/// The option <c>--minutes</c> of Quickstart bounds the whole program, on machines of any speed. The clock of the tests is simulated.
/// </summary>
public class QuickstartTimeTests
{
    const double StartSeconds = 4, ReportSeconds = 2, StepsToMeasure = 300;

    public static TheoryData<double, double, double, double> Machines
    {
        get
        {
            var data = new TheoryData<double, double, double, double>();
            foreach (double minutes in new[] { 0.5, 1, 2.5, 10 })
                foreach (double secondsPerStep in new[] { 0.03, 0.15, 0.6 })
                    foreach (double overhead in new[] { 0.1, 1 })
                        foreach (double slower in new[] { 1, 2, 4, 0.5 }) data.Add(minutes, secondsPerStep, overhead, slower);
            return data;
        }
    }

    /// <param name="minutes">The value of <c>--minutes</c>.</param>
    /// <param name="secondsPerStep">The seconds of one step of all models.</param>
    /// <param name="overhead">The seconds of a round in addition to its steps.</param>
    /// <param name="slower">By how much the machine becomes slower after a third of the time, when other programs start.</param>
    [Theory]
    [MemberData(nameof(Machines))]
    public void The_minutes_bound_all_of_the_program(double minutes, double secondsPerStep, double overhead, double slower)
    {
        var clock = new Clock();
        var deadline = new Deadline(TimeSpan.FromMinutes(minutes), clock);
        Train(clock, deadline, () => clock.Seconds < 20 * minutes ? secondsPerStep : secondsPerStep * slower, overhead);

        // a round that becomes four times slower while it runs ends late by a part of a round
        Assert.InRange(deadline.Elapsed, 0, 60 * minutes * (slower > 2 ? 1.06 : 1.01));
        // the bound is no excuse for a program that does nothing: the training of a steady machine takes most of the time
        if (slower == 1 && secondsPerStep + overhead < 0.3) Assert.InRange(clock.Training, 0.55 * 60 * minutes, 60 * minutes);
    }

    static void Train(Clock clock, Deadline deadline, Func<double> secondsPerStep, double overhead)
    {
        clock.Advance(StartSeconds);
        // the first step of a process is slow
        double first = 5 * secondsPerStep();
        clock.Advance(first);
        var planner = new RacePlanner(deadline, StepsToMeasure);
        var plan = planner.First(first);
        while (true)
        {
            double before = clock.Seconds;
            for (long step = plan.Done; step < plan.Target; step++) clock.Advance(secondsPerStep());
            clock.Training += clock.Seconds - before;
            double mean = (clock.Seconds - before) / (plan.Target - plan.Done);
            clock.Advance(overhead);
            if (plan.Target >= plan.Steps)
            {
                clock.Advance(deadline.ShareToMeasure(mean, StepsToMeasure) * StepsToMeasure * secondsPerStep() / 3);
                clock.Advance(Math.Max(0.5, deadline.Left));    // text is written until the time is over
                clock.Advance(ReportSeconds);
                return;
            }
            plan = planner.Next(plan, mean, overhead);
        }
    }

    sealed class Clock : TimeProvider
    {
        public double Seconds { get; private set; }

        public double Training { get; set; }

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public void Advance(double seconds) => Seconds += seconds;

        public override long GetTimestamp() => (long)(Seconds * TimeSpan.TicksPerSecond);
    }
}
