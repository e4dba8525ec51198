using System.Diagnostics;
using HybridArchitectures.Models;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Optimization;
using HybridArchitectures.Training.Running;

namespace Quickstart;

/// <summary>
/// Trains all models in rounds of a few steps each, so all have the same number of steps when the time is over. After each round, the total number of
/// steps is fitted to the remaining time, at the speed of that round. Each turn of a model ends with a checkpoint.
/// </summary>
sealed class Race(string folder, RunSettings settings, Deadline deadline, TokenDataset training, TokenDataset heldOut)
{
    public const int ContextLength = 256, Rows = 4;

    public static TrainingOptions Recipe(long steps) => new()
    {
        Duration = Duration.Steps(steps),
        LearningRate = 3e-3,
        ContextLength = ContextLength,
        BatchSize = Rows,
        Schedule = new TrapezoidSchedule { WarmUp = 0.05, CoolDown = RacePlanner.CoolDown },
        ReportEvery = 5,
        KeepLast = 1,
        KeepBest = false,
    };

    readonly Dictionary<Arm, TrainingResult> results = [];

    /// <summary>Gets the seconds of one step of every model in the last round.</summary>
    public double SecondsPerStep { get; private set; }

    /// <summary>Gets the cost of measuring the held-out text, in steps.</summary>
    public double StepsToMeasure => (double)heldOut.Count / (ContextLength * Rows);

    /// <summary>Returns the results of the models, or null if the run was stopped.</summary>
    public IReadOnlyDictionary<Arm, TrainingResult>? Run(CancellationToken cancellation)
    {
        var plan = RacePlan.Load(folder);
        SecondsPerStep = Measure(cancellation);
        var planner = new RacePlanner(deadline, StepsToMeasure);
        plan ??= planner.First(SecondsPerStep);
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
                plan = planner.Next(plan, SecondsPerStep, overhead: Math.Max(0, seconds - SecondsPerStep * (plan.Target - plan.Done)));
            }
        });
    }

    // seconds of one step of every model in a round, without checkpoints and evaluations; null if a model made no report in the round
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
        // in a run that was stopped within a round, some models have finished the round
        if (trainer.Step >= plan.Target && plan.Target < plan.Steps) source.Cancel();
        return trainer.Run(progress, source.Token);
    }

    // the first step of every model: the first round measures better, but must not be too long on a slow machine
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
