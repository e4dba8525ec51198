using HybridArchitectures.Storage;
using HybridArchitectures.Training.Optimization;
using HybridArchitectures.Training.Running;

namespace HybridArchitectures.Evaluation.Sweeps;

public sealed partial class Sweep
{
    const string BranchesLock = ".branches";

    /// <summary>
    /// Trains a design with several numbers of steps, and shares the steps before the first decay. The sweeps have one run each. They differ only in
    /// their number of steps, and in the share of their <see cref="TrapezoidSchedule"/> that gives all the same warm-up.
    /// <para>
    /// 1. The longest run, the trunk, is trained to its last report before the decay of the next shorter run begins.
    /// 2. Its checkpoint is copied to the shorter run, which continues to its end.
    /// 3. The trunk continues, to the decay of the following run or to its end.
    /// </para>
    /// Each run has the loss of a separate training with its schedule. Complete runs are skipped, and interrupted ones continue. A run whose trunk is
    /// already past its decay is trained from its first step. One process at a time works on the runs.
    /// </summary>
    /// <param name="lengths">The sweeps, in ascending order of steps.</param>
    /// <param name="progress">Receives the progress of each sweep.</param>
    /// <param name="cancellation">Stops after the current step and writes a checkpoint. A later call continues.</param>
    /// <returns>True if every run is complete.</returns>
    internal static bool RunBranches(IReadOnlyList<Sweep> lengths, IProgress<SweepProgress>? progress, CancellationToken cancellation)
    {
        var trunk = lengths[^1];
        string folder = trunk.plans.Single().Folder.Path;
        Directory.CreateDirectory(folder);
        using var held = PathLock.Try(Path.Combine(folder, BranchesLock), out _);
        if (held is null) return lengths.All(length => length.IsComplete);
        foreach (var branch in lengths.SkipLast(1))
        {
            if (!branch.IsComplete && branch.LastCheckpoint.Folder is null)
            {
                trunk.RunUntil(branch.DecayStart, progress, cancellation);
                if (cancellation.IsCancellationRequested) return false;
                branch.CopyFrom(trunk.LastCheckpoint);
            }
            branch.Run(progress, cancellation);
        }
        trunk.Run(progress, cancellation);
        return lengths.All(length => length.IsComplete);
    }

    (long Step, string? Folder) LastCheckpoint => new RunFolder(plans.Single().Folder.CheckpointsFolder).Checkpoints().LastOrDefault();

    // the steps with the peak rate, which a longer run makes too
    long DecayStart
    {
        get
        {
            var training = plans.Single().Training;
            double coolDown = (training.Schedule as TrapezoidSchedule)?.CoolDown
                ?? throw Require.Unfit(nameof(training), $"Schedule is {training.Schedule}", $"a {nameof(TrapezoidSchedule)}");
            // a product that should be whole may be slightly below it
            return (long)Math.Floor((1 - coolDown) * training.TotalSteps!.Value + 1e-6);
        }
    }

    void RunUntil(long step, IProgress<SweepProgress>? progress, CancellationToken cancellation)
    {
        if (IsComplete || LastCheckpoint.Step > step - options.Training.ReportEvery) return;
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        Run(new StopAfter(step - options.Training.ReportEvery, progress, stop), stop.Token);
    }

    void CopyFrom((long Step, string? Folder) checkpoint)
    {
        if (checkpoint.Folder is not { } source || checkpoint.Step > DecayStart) return;
        AtomicWrite.Folder(Path.Combine(plans.Single().Folder.CheckpointsFolder, Path.GetFileName(source)), fresh =>
        {
            foreach (string file in Directory.GetFiles(source)) File.Copy(file, Path.Combine(fresh, Path.GetFileName(file)));
        });
    }

    // stops at the first report after a step
    sealed class StopAfter(long step, IProgress<SweepProgress>? progress, CancellationTokenSource stop) : IProgress<SweepProgress>
    {
        public void Report(SweepProgress value)
        {
            progress?.Report(value);
            if (value.Training is { } report && report.Step > step) stop.Cancel();
        }
    }
}
