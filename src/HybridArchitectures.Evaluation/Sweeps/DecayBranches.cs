using HybridArchitectures.Models;
using HybridArchitectures.Storage;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Optimization;
using HybridArchitectures.Training.Running;
using TorchSharp;

namespace HybridArchitectures.Evaluation.Sweeps;

/// <summary>
/// Trains with warm-up, stable phase and decay ("WSD", arXiv 2404.06395): one trunk at the peak learning rate, from which a branch decays at each of
/// several lengths. All branches together cost little more than the longest, and each equals a separate run with a
/// <see cref="TrapezoidSchedule"/> of its length.
/// <para>
/// 1. The trunk is trained to the start of the first branch.
/// 2. Its checkpoint is copied to the folder of the branch, and the branch decays from there.
/// 3. The trunk continues to the start of the next branch, and so on.
/// </para>
/// A second call continues an interrupted one.
/// </summary>
public static class DecayBranches
{
    /// <summary>Trains the trunk and the branches.</summary>
    /// <param name="createModel">Creates the initial model.</param>
    /// <param name="data">The training data.</param>
    /// <param name="options">The training options. Their duration, schedule and folder are ignored.</param>
    /// <param name="branches">The lengths and the folder.</param>
    /// <param name="heldOut">The data for the evaluation at the end of each branch, or null for none.</param>
    /// <param name="progress">Receives the progress of the current run.</param>
    /// <param name="device">The device of the models, or null for the CPU.</param>
    /// <param name="cancellation">Stops after the current step and writes a checkpoint.</param>
    /// <returns>The complete branches, which are fewer than requested after a cancellation.</returns>
    public static IReadOnlyList<DecayBranch> Run(Func<HybridLanguageModel> createModel, ITrainingData data, TrainingOptions options,
        DecayBranchOptions branches, TokenDataset? heldOut = null, IProgress<TrainingProgress>? progress = null, torch.Device? device = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(createModel);
        ArgumentNullException.ThrowIfNull(data);
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(branches);
        branches.Check();
        string trunk = Path.Combine(branches.Folder, "trunk");
        var done = new List<DecayBranch>();
        foreach (long steps in branches.Steps)
        {
            long start = branches.Start(steps);
            string folder = Path.Combine(branches.Folder, FormattableString.Invariant($"branch-{steps:d8}"));
            if (!Trainer.HasCheckpoint(folder))
            {
                // the trunk has no cool-down: its rate stays at the peak whatever its length
                var result = Train(trunk, data, null, progress, device, cancellation, options with
                {
                    Duration = Duration.Steps(start), Schedule = Schedule(branches.WarmUpSteps, start, start), Folder = trunk, EvaluateEvery = 0,
                }, createModel);
                if (!result.Completed) return done;
                string name = Path.GetFileName(result.Checkpoint!);
                AtomicWrite.Folder(Path.Combine(folder, name), fresh =>
                {
                    foreach (string file in Directory.GetFiles(result.Checkpoint!)) File.Copy(file, Path.Combine(fresh, Path.GetFileName(file)));
                });
            }
            var branch = Train(folder, data, heldOut, progress, device, cancellation, options with
            {
                Duration = Duration.Steps(steps), Schedule = Schedule(branches.WarmUpSteps, start, steps), Folder = folder,
            }, createModel: null);
            if (!branch.Completed || (heldOut is not null && branch.Evaluations.LastOrDefault()?.Step != branch.Steps)) return done;
            done.Add(new DecayBranch(steps, branch));
        }
        return done;
    }

    static TrapezoidSchedule Schedule(long warmUp, long start, long steps) =>
        new() { WarmUp = (double)warmUp / steps, CoolDown = (double)(steps - start) / steps };

    static TrainingResult Train(string folder, ITrainingData data, TokenDataset? heldOut, IProgress<TrainingProgress>? progress, torch.Device? device,
        CancellationToken cancellation, TrainingOptions options, Func<HybridLanguageModel>? createModel)
    {
        if (createModel is not null && !Trainer.HasCheckpoint(folder))
        {
            using var model = createModel();
            using var trainer = new Trainer(model, data, options, heldOut);
            return trainer.Run(progress, cancellation);
        }
        using var resumed = Trainer.Resume(folder, data, heldOut, device: device, change: saved => options with { Seed = saved.Seed });
        using var owned = resumed.Model;
        return resumed.Run(progress, cancellation);
    }
}
