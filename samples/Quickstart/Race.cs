using System.Diagnostics;
using HybridArchitectures.Models;
using HybridArchitectures.Training;

namespace Quickstart;

/// <summary>
/// Trains all models in turns, a round of a few steps each, so that all have done the same steps whenever the time is over. After each round
/// the number of steps in all is fitted to the time that is left, at the speed of that round. Each turn ends with a checkpoint.
/// </summary>
sealed class Race(string folder, RunSettings settings, Deadline deadline, TokenDataset training, TokenDataset heldOut)
{
    public const int ContextLength = 256, Rows = 4;
    const int Rounds = 12, LastRounds = 3;
    const double CoolDown = 0.4, MinRoundSeconds = 3;

    public static TrainingOptions Recipe(long steps) => new()
    {
        Duration = Duration.Steps(steps),
        LearningRate = 3e-3,
        ContextLength = ContextLength,
        BatchSize = Rows,
        Schedule = new TrapezoidSchedule { WarmUp = 0.05, CoolDown = CoolDown },
        ReportEvery = 5,
        KeepLast = 1,
        KeepBest = false,
    };

    readonly Dictionary<Arm, TrainingResult> results = [];

    /// <summary>Seconds of one step of every model, in the last round.</summary>
    public double SecondsPerStep { get; private set; }

    /// <summary>The held-out text in steps.</summary>
    public double StepsToMeasure => (double)heldOut.Count / (ContextLength * Rows);

    /// <summary>The trained models' results, or null where the run was stopped.</summary>
    public IReadOnlyDictionary<Arm, TrainingResult>? Run(CancellationToken cancellation)
    {
        var plan = RacePlan.Load(folder);
        SecondsPerStep = Measure(cancellation);
        plan ??= First();
        return ProgressScreen.Show(Arm.All.Select(arm => arm.Name), progressOf =>
        {
            while (true)
            {
                plan.Save(folder);
                var watch = Stopwatch.StartNew();
                foreach (var arm in Arm.All)
                {
                    if (cancellation.IsCancellationRequested) return null;
                    results[arm] = Turn(arm, plan, progressOf(arm.Name), cancellation);
                }
                if (cancellation.IsCancellationRequested) return null;
                if (plan.Target >= plan.Steps) return results;
                double seconds = watch.Elapsed.TotalSeconds;
                SecondsPerStep = Speed(plan) ?? seconds / (plan.Target - plan.Done);
                plan = Next(plan, overhead: Math.Max(0, seconds - SecondsPerStep * (plan.Target - plan.Done)));
            }
        });
    }

    RacePlan First()
    {
        // steps from cold are slow: one round is done whatever they say, and the next plan is made from its speed
        long steps = Math.Max(2 * Rounds, deadline.StepsLeft(SecondsPerStep, StepsToMeasure));
        return new(steps, 0, Math.Max(1, steps / (2 * Rounds)));
    }

    // the schedule is stable up to the cool-down: until then the steps in all may change either way, afterwards only become fewer
    RacePlan Next(RacePlan plan, double overhead)
    {
        // a round lasts several times as long as its checkpoints, evaluations and new beginnings
        long shortest = Math.Max(1, (long)(Math.Max(MinRoundSeconds, 4 * overhead) / SecondsPerStep));
        double secondsPerStep = SecondsPerStep + overhead / Math.Max(shortest, plan.Steps / Rounds);
        long done = plan.Target, fitting = done + deadline.StepsLeft(secondsPerStep, StepsToMeasure, reserve: LastRounds * overhead);
        bool stable = done < (1 - CoolDown) * plan.Steps;
        long steps = Math.Max(done + 1, stable ? fitting : Math.Min(plan.Steps, fitting));
        // rounds become short near the end, so that a machine that slows down then is noticed
        long round = Math.Clamp((steps - done) / 3, 1, Math.Max(1, steps / Rounds));
        return new(steps, done, Math.Min(steps, done + Math.Max(round, shortest)));
    }

    // seconds of one step of every model in a round, without checkpoints and evaluations; null where the round had no report of each
    double? Speed(RacePlan plan)
    {
        double seconds = 0;
        foreach (var arm in Arm.All)
        {
            var reports = results[arm].History.Where(report => report.Step > plan.Done && report.TokensPerSecond > 0).ToArray();
            if (reports.Length == 0) return null;
            seconds += reports.Average(report => Rows * ContextLength / report.TokensPerSecond);
        }
        return seconds;
    }

    TrainingResult Turn(Arm arm, RacePlan plan, IProgress<TrainingProgress> progress, CancellationToken cancellation)
    {
        var armFolder = Path.Combine(folder, arm.Folder);
        using var source = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        TrainingCallback[] callbacks = plan.Target < plan.Steps ? [new StopAt(plan.Target, source)] : [];
        bool begun = Trainer.HasCheckpoint(armFolder);
        var options = Recipe(plan.Steps) with { LearningRate = arm.Rate, Seed = settings.Seed, Folder = armFolder };
        using var fresh = begun ? null : arm.Design.CreateModel(seed: settings.Seed);
        using var trainer = begun
            ? Trainer.Resume(armFolder, training, heldOut: null, callbacks,
            change: saved => saved with { Duration = Duration.Steps(plan.Steps), EvaluateEvery = 0 })
            : new Trainer(fresh!, training, options, heldOut: null, callbacks);
        using var own = begun ? trainer.Model : null;
        // a run that was stopped within a round has models that are through with it
        if (trainer.Step >= plan.Target && plan.Target < plan.Steps) source.Cancel();
        return trainer.Run(progress, source.Token);
    }

    // a step of every model from cold: the first round tells better, but must not be too long on a slow machine
    double Measure(CancellationToken cancellation)
    {
        var watch = Stopwatch.StartNew();
        foreach (var arm in Arm.All)
        {
            cancellation.ThrowIfCancellationRequested();
            using var model = arm.Design.CreateModel(seed: settings.Seed);
            using var trainer = new Trainer(model, training, Recipe(steps: 1));
            trainer.Run(cancellation: cancellation);
        }
        cancellation.ThrowIfCancellationRequested();
        return watch.Elapsed.TotalSeconds;
    }
}
