using System.Diagnostics;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Cost;
using HybridArchitectures.Models;
using HybridArchitectures.Training.Running;

namespace HybridArchitectures.Evaluation.Sweeps;

/// <summary>
/// Trains and measures designs with several seeds. Each run has a folder.
/// <para>
/// 1. Runs are ordered by seed and then by design, so an interrupted sweep has complete pairs.
/// 2. A complete run is skipped. An interrupted run continues from its last checkpoint, with the same bits as without the interruption.
/// 3. Every file is written atomically, in the order of their dependencies. The process may end at any time.
/// 4. Several processes, on one machine or on several with a common disk, may run the same sweep. Each takes runs that no other process has taken.
/// 5. <see cref="Merge"/> joins the folders of machines without a common disk.
/// </para>
/// </summary>
/// <example>
/// <code>
/// using var data = TokenDataset.FromTokens(Enumerable.Range(0, 4000).Select(i => i * i % 251).ToArray(), 256);
/// HybridDesignBuilder start = HybridDesign.Create(width: 32, vocabularySize: 256).WithFeedForward(FeedForwardSpec.SwiGlu(64));
/// var sweep = new Sweep(new SweepOptions
/// {
///     Folder = "runs/sweep-example",
///     Designs =
///     [
///         new("attention", start.WithAttention(heads: 2).Depth(2).Build()),
///         new("mamba", start.WithMamba2(stateSize: 8, headSize: 8).Depth(2).Build()),
///     ],
///     Seeds = [1, 2],
///     Training = new() { LearningRate = 1e-3, ContextLength = 32, BatchSize = 4, Duration = Duration.Steps(4) },
///     Data = data,
///     HeldOut = data,
/// });
/// SweepResult result = sweep.Run();
/// Console.WriteLine(result.Compare("attention", "mamba", SweepRun.TrainingTask, "held-out loss"));
/// </code>
/// </example>
public sealed partial class Sweep
{
    readonly SweepOptions options;
    readonly List<SweepPlan> plans;
    // a complete run stays complete: reports read the files of the others only
    readonly HashSet<SweepPlan> complete = [];

    /// <summary>Creates a sweep.</summary>
    /// <param name="options">The options.</param>
    /// <exception cref="ArgumentException">An option is out of range, or two designs or tasks have the same name.</exception>
    public Sweep(SweepOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Check();
        this.options = options;
        plans = [.. options.Seeds.SelectMany(seed => options.Designs.Select(design => Plan(design, seed)))];
        if (plans.GroupBy(plan => plan.Folder.Path).FirstOrDefault(runs => runs.Count() > 1) is { } same)
            throw Require.Unfit(nameof(options),
                $"Designs holds the same design as '{string.Join("' and '", same.Select(plan => plan.Design.Name))}'",
                "names that differ in letters a to z or digits among their first 40 signs");
    }

    SweepPlan Plan(SweepDesign design, long seed)
    {
        var training = options.Training with { Seed = seed, LearningRate = design.LearningRate ?? options.Training.LearningRate, Folder = null,
            KeepEvery = 0 };
        if (options.TrainingFlops is { } flops)
            training = training with { Duration = Duration.Tokens(Math.Max(1, (long)design.Design.Cost(training.ContextLength).Tokens(flops))) };
        // checkpoints take time: they change the result of a run only if time ends it
        if (training.Duration.TimeBudget is null) training = training with { CheckpointEvery = 0 };
        string Identity(string json, string training) =>
            string.Join('\n', json, training, options.ComputeType, options.Data.Description, options.HeldOut?.Description);
        return new(design, seed, training, SweepRunFolder.For(options.Folder, design.Name, seed, design.Design, training, Identity));
    }

    /// <summary>Gets whether every run is complete. A run that failed in training counts as complete.</summary>
    public bool IsComplete => plans.All(IsDone);

    bool IsDone(SweepPlan plan) => plan.Folder.HasTraining && (plan.Folder.ReadTraining().Failure is not null
        || options.Tasks.All(task => plan.Folder.HasTask(task)));

    /// <summary>Trains and measures every run that is not complete.</summary>
    /// <param name="progress">Receives the progress of the sweep at every report of a training run and at every task.</param>
    /// <param name="cancellation">Stops after the current step and writes a checkpoint. A later call continues.</param>
    /// <returns>The runs of this sweep so far. <see cref="SweepResult.IsComplete"/> tells whether they are complete.</returns>
    /// <exception cref="InvalidDataException">A file of a run is damaged.</exception>
    public SweepResult Run(IProgress<SweepProgress>? progress = null, CancellationToken cancellation = default)
    {
        var times = new List<TimeSpan>();
        foreach (var plan in plans)
        {
            if (cancellation.IsCancellationRequested) break;
            if (IsDone(plan) && HasLabels(plan)) continue;
            using var held = plan.Folder.TryLock();
            if (held is not null) UpdateLabels(plan);
            // another process may have the run, or have completed it just now
            if (held is null || IsDone(plan)) continue;
            var clock = Stopwatch.StartNew();
            if (!RunOne(plan, times, progress, cancellation)) break;
            times.Add(clock.Elapsed);
            Report(progress, plan, "done", times);
        }
        return new SweepResult([.. plans.Where(plan => plan.Folder.HasSettings).Select(plan => plan.Folder.Read())], IsComplete);
    }

    static bool HasLabels(SweepPlan plan) =>
        plan.Folder.ReadSettings() is var settings && (settings.Name, settings.Family) == (plan.Design.Name, plan.Design.Family);

    // the family changes no result, nor do signs of the name that its folder does not show, so they may be set after the run
    static void UpdateLabels(SweepPlan plan)
    {
        if (plan.Folder.HasSettings && !HasLabels(plan))
            plan.Folder.Write(plan.Folder.ReadSettings() with { Name = plan.Design.Name, Family = plan.Design.Family });
    }

    int CountComplete()
    {
        foreach (var plan in plans)
            if (!complete.Contains(plan) && IsDone(plan)) complete.Add(plan);
        return complete.Count;
    }

    void Report(IProgress<SweepProgress>? progress, SweepPlan plan, string phase, List<TimeSpan> times, TrainingProgress? training = null)
    {
        if (progress is null) return;
        int completed = CountComplete();
        double left = plans.Count - completed - (training?.Done ?? 0);
        TimeSpan? time = times.Count > 0 ? TimeSpan.FromTicks((long)(times.Average(taken => taken.Ticks) * Math.Max(0, left))) : null;
        progress.Report(new SweepProgress($"{plan.Design.Name}, seed {plan.Seed}", phase, completed, plans.Count, training, time));
    }

    // returns false where it was cancelled
    bool RunOne(SweepPlan plan, List<TimeSpan> times, IProgress<SweepProgress>? progress, CancellationToken cancellation)
    {
        if (!plan.Folder.HasSettings)
        {
            plan.Folder.Write(new SweepRunSettings(plan.Design.Name, plan.Seed, plan.Design.Design, TrainingText.Of(plan.Training),
                plan.Training.LearningRate, plan.Training.ContextLength, options.Data.Description, options.HeldOut?.Description,
                SweepEnvironment.Current(options.Device?.ToString() ?? "cpu"), plan.Design.Family));
        }
        HybridLanguageModel? model = null;
        try
        {
            if (plan.Folder.HasTraining) model = LoadTrained(plan);
            else if (!Train(plan, times, progress, cancellation, out model)) return false;
            // a run that failed has no model
            foreach (var task in model is null ? [] : options.Tasks)
            {
                if (plan.Folder.HasTask(task)) continue;
                if (cancellation.IsCancellationRequested) return false;
                Report(progress, plan, task.Name, times);
                var result = task.Run(model!, cancellation);
                plan.Folder.Write(result with { Task = task.Name, Settings = task.Settings });
            }
        }
        catch (OperationCanceledException) when (cancellation.IsCancellationRequested)
        {
            return false;
        }
        finally
        {
            model?.Dispose();
        }
        if (!options.KeepModels) plan.Folder.DeleteCheckpoints();
        return true;
    }

    bool Train(SweepPlan plan, List<TimeSpan> times, IProgress<SweepProgress>? progress, CancellationToken cancellation,
        out HybridLanguageModel? model)
    {
        var (trainer, owned) = OpenTrainer(plan);
        model = owned;
        using (trainer)
        {
            try
            {
                var result = trainer.Run(progress is null ? null : new TrainingReport(report => Report(progress, plan, "training", times, report)),
                    cancellation);
                // a stop in the last step leaves the measurement after it to the next start
                if (!result.Completed || (options.HeldOut is not null && result.Evaluations.LastOrDefault()?.Step != result.Steps)) return false;
                plan.Folder.Write(SweepTraining.From(result, trainer.Options.EvaluateEvery));
                return true;
            }
            catch (TrainingDivergedException e)
            {
                plan.Folder.Write(new SweepTraining(trainer.Step, trainer.Tokens, trainer.Elapsed.TotalSeconds, 0, [], [], e.Message));
                model.Dispose();
                model = null;
                return true;
            }
        }
    }

    (Trainer Trainer, HybridLanguageModel Model) OpenTrainer(SweepPlan plan)
    {
        long every = CheckpointEvery(plan.Training);
        var training = plan.Training with
        {
            Folder = plan.Folder.CheckpointsFolder, KeepLast = 1, KeepBest = false, CheckpointEvery = every,
            EvaluateEvery = plan.Training.EvaluateEvery == 0 ? EvaluateEvery(plan.Training, every) : plan.Training.EvaluateEvery,
        };
        if (Trainer.HasCheckpoint(plan.Folder.CheckpointsFolder))
        {
            // a curve keeps its intervals
            var resumed = Trainer.Resume(plan.Folder.CheckpointsFolder, options.Data, options.HeldOut, device: options.Device, skipDamaged: true,
                change: saved => training with { ReportEvery = saved.ReportEvery, EvaluateEvery = saved.EvaluateEvery });
            return (resumed, resumed.Model);
        }
        var model = plan.Design.Design.CreateModel(options.ComputeType, options.Device, plan.Seed);
        try
        {
            return (new Trainer(model, options.Data, training, options.HeldOut), model);
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    long CheckpointEvery(TrainingOptions training)
    {
        if (options.Training.CheckpointEvery > 0) return options.Training.CheckpointEvery;
        return training.TotalSteps is { } total ? Math.Max(1, total / 10) : 100;
    }

    // at checkpoints, or less often if that measured more tokens than the run trains
    long EvaluateEvery(TrainingOptions training, long checkpoints)
    {
        if (training.TotalSteps is not { } total || options.HeldOut is not { } heldOut) return checkpoints;
        long tokens = training.EvaluationTokens == 0 ? heldOut.Count : Math.Min(training.EvaluationTokens, heldOut.Count);
        long times = (long)Math.Clamp((double)total * training.TokensPerStep / tokens, 1, total);
        return Math.Max(checkpoints, (total - 1) / times + 1);
    }

    HybridLanguageModel? LoadTrained(SweepPlan plan)
    {
        if (plan.Folder.ReadTraining().Failure is not null) return null;
        string? last = Directory.Exists(plan.Folder.CheckpointsFolder)
            ? Directory.GetDirectories(plan.Folder.CheckpointsFolder, "step-*").Order(StringComparer.Ordinal).LastOrDefault() : null;
        if (last is null && options.Tasks.All(task => !task.DependsOnWeights || plan.Folder.HasTask(task)))
            return plan.Design.Design.CreateModel(options.ComputeType, options.Device, plan.Seed);
        if (last is null)
            throw new InvalidDataException($"{plan.Folder.Path}: the trained model is gone; expected a checkpoint in "
                + $"{plan.Folder.CheckpointsFolder}. "
                + "Delete training.json to train it again.");
        return Checkpoint.Load(last, options.ComputeType, options.Device);
    }

    /// <summary>Reads all runs in the folder of a sweep.</summary>
    /// <param name="folder">The folder.</param>
    /// <exception cref="DirectoryNotFoundException">The folder does not exist.</exception>
    /// <exception cref="InvalidDataException">A file is damaged. The message names the file.</exception>
    public static SweepResult Read(string folder)
    {
        Require.NotEmpty(folder);
        if (!Directory.Exists(folder)) throw new DirectoryNotFoundException($"folder is '{folder}'; expected the folder of a sweep.");
        SweepRun[] runs = [.. SweepRunFolder.All(folder).Select(run => run.Read())];
        return new SweepResult(runs, runs.All(run => run.Training is not null));
    }

    /// <summary>
    /// Adds the runs of other folders to a folder. A run that both have keeps the tasks of both, and a complete training replaces an
    /// incomplete one.
    /// </summary>
    /// <param name="sources">The folders to read.</param>
    /// <param name="target">The folder to write. It is created if it does not exist.</param>
    /// <exception cref="DirectoryNotFoundException">A source does not exist.</exception>
    /// <exception cref="IOException">Another process works on a run of the target.</exception>
    public static void Merge(IEnumerable<string> sources, string target)
    {
        string[] folders = [.. Require.EachItem(sources)];
        Require.NotEmpty(target);
        foreach (string source in folders)
        {
            if (!Directory.Exists(source)) throw new DirectoryNotFoundException($"source is '{source}'; expected the folder of a sweep.");
            foreach (var run in SweepRunFolder.All(source))
            {
                var copy = new SweepRunFolder(Path.Combine(target, Path.GetRelativePath(source, run.Path)));
                using var held = copy.TryLock() ?? throw new IOException($"{copy.Path} is in use; expected a run that no process works on.");
                run.CopyTo(copy);
            }
        }
    }

    sealed record SweepPlan(SweepDesign Design, long Seed, TrainingOptions Training, SweepRunFolder Folder);

    // at once and on this thread, unlike Progress<T>
    sealed class TrainingReport(Action<TrainingProgress> report) : IProgress<TrainingProgress>
    {
        public void Report(TrainingProgress value) => report(value);
    }
}
