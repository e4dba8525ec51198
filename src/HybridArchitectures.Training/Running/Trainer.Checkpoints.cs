using HybridArchitectures.Adapters;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Storage;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Distributed;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Running;

public sealed partial class Trainer
{
    internal const string OptimizerFile = "optimizer.safetensors";
    const string RandomName = "random_state", DropoutName = "dropout_state", HeadPrefix = "prediction_head.";

    internal static readonly string[] CheckpointFiles = [.. Checkpoint.Files, OptimizerFile, TrainingState.FileName];

    PendingSave? pending;

    /// <summary>Returns whether the folder of a run contains a checkpoint from which to resume.</summary>
    public static bool HasCheckpoint(string folder)
    {
        Require.NotEmpty(folder);
        return new RunFolder(folder).Checkpoints().Count > 0;
    }

    /// <summary>Continues a run from a checkpoint.</summary>
    /// <param name="folder">The folder of the run, for its latest checkpoint, or the folder of one checkpoint.</param>
    /// <param name="training">The data with which the run began.</param>
    /// <param name="heldOut">The held-out data. The default, null, measures nothing.</param>
    /// <param name="callbacks">Further actions during the run. The default, null, means none.</param>
    /// <param name="device">The device of the model. The default, null, means the CPU.</param>
    /// <param name="change">
    /// Changes options, for example to a longer duration. The context length, the batch size, the seed and the separation of documents must not
    /// change.
    /// </param>
    /// <param name="skipDamaged">
    /// Whether the latest sound checkpoint before a damaged one is used. The default, false, throws an exception that names it.
    /// </param>
    /// <param name="parallel">
    /// The ranks that train the model together, whatever their number was before. The default, null, means this process alone.
    /// </param>
    /// <returns>A trainer with a new model. The caller disposes the model.</returns>
    /// <exception cref="InvalidDataException">
    /// A file is damaged (its size and checksum are compared with those in <c>training.json</c>), the folder of the checkpoint was renamed, or the
    /// data is not that of the run.
    /// </exception>
    /// <exception cref="IOException">Another trainer uses the folder, or it is not writable.</exception>
    /// <exception cref="CollectiveException">Another rank failed, or the ranks do not agree.</exception>
    public static Trainer Resume(string folder, ITrainingData training, TokenDataset? heldOut = null, IEnumerable<TrainingCallback>? callbacks = null,
        Device? device = null, Func<TrainingOptions, TrainingOptions>? change = null, bool skipDamaged = false,
        DataParallel? parallel = null)
    {
        ArgumentNullException.ThrowIfNull(training);
        var given = ToArray(callbacks);
        parallel?.Check();
        var ranks = new RankGroup(parallel);
        string checkpoint = "";
        IDisposable? folderLock = null;
        try
        {
            ranks.OnFirst(() =>
            {
                string run = RunFolder.Find(folder).Run;
                // a running trainer might delete the checkpoint while it is read
                folderLock = new RunFolder(run).Lock();
                checkpoint = new RunFolder(run).ReadSound(RunFolder.Find(folder).Checkpoint, skipDamaged).Checkpoint;
            });
            checkpoint = ranks.TextFrom(0, checkpoint);
            return ResumeFrom(checkpoint, training, heldOut, given, device, change, parallel);
        }
        finally
        {
            folderLock?.Dispose();
        }
    }

    static Trainer ResumeFrom(string checkpoint, ITrainingData training, TokenDataset? heldOut, TrainingCallback[] callbacks,
        Device? device, Func<TrainingOptions, TrainingOptions>? change, DataParallel? parallel)
    {
        var state = TrainingState.Read(checkpoint);
        string run = Path.GetDirectoryName(checkpoint)!;
        if (state.Data != training.Description)
            throw new InvalidDataException($"{checkpoint}: the run was trained on {state.Data}; found {training.Description}");
        string? objective = FindObjective(callbacks)?.Description;
        if (objective != state.Objective)
            throw Require.Unfit(nameof(callbacks), $"callbacks has the objective '{objective ?? "none"}'",
                $"'{state.Objective ?? "none"}', that of the run");
        var options = (change?.Invoke(state.Options) ?? state.Options) with { Folder = run };
        static object FixedOptions(TrainingOptions of) => (of.ContextLength, of.BatchSize, of.Seed, of.SeparateDocuments);
        if (!FixedOptions(options).Equals(FixedOptions(state.Options)))
            throw Require.Unfit(nameof(change), $"{nameof(change)} changes the context length, batch size, seed or separation of documents",
                "those of the run");
        var model = Checkpoint.Load(checkpoint, state.Compute, device);
        Trainer? trainer = null;
        try
        {
            Freeze(model, state.Frozen ?? []);
            trainer = new Trainer(model, training, options, heldOut, callbacks, parallel, resumed: true);
            trainer.Restore(checkpoint, state);
            trainer.ranks.Settle(null);         // rank 0 keeps the checkpoint until all have read it
            return trainer;
        }
        catch
        {
            trainer?.Dispose();
            model.Dispose();
            throw;
        }
    }

    static void Freeze(HybridLanguageModel model, IEnumerable<string> names)
    {
        var frozen = names.ToHashSet(StringComparer.Ordinal);
        foreach (var parameter in model.AllParameters().Where(parameter => frozen.Contains(parameter.Name))) parameter.Value.requires_grad = false;
    }

    // adapters freeze all other parameters when they are loaded
    IReadOnlyList<string>? Frozen()
    {
        if (Model.Adapters() is not null) return null;
        string[] frozen = [.. Model.AllParameters().Where(parameter => !parameter.Value.requires_grad).Select(parameter => parameter.Name)];
        return frozen.Length > 0 ? frozen : null;
    }

    void Restore(string checkpoint, TrainingState state)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        if (objective?.TrainedHead is { } head) Checkpoint.LoadInto(head, checkpoint);
        using var file = SafetensorsFile.Open(Path.Combine(checkpoint, OptimizerFile));
        var random = TorchRandom.Read();
        var others = new Dictionary<string, Tensor> { [RandomName] = random };
        var dropout = file.Contains(DropoutName) ? Model.Adapters()?.DropoutState() : null;
        if (dropout is not null) others.Add(DropoutName, dropout);
        optimizer.Load(file, others);
        randomState = TensorMemory.Span<byte>(random).ToArray();
        if (dropout is not null) Model.Adapters()!.RestoreDropout(dropout);
        if (optimizer.ReadSteps() != state.Step - state.Spikes.Skipped)
            throw new InvalidDataException(
                $"{file.Path}: the optimizer has made {optimizer.ReadSteps()} steps; expected {state.Step - state.Spikes.Skipped}");
        try
        {
            reader.Position = state.Position;
        }
        catch (ArgumentException e)
        {
            throw new InvalidDataException($"{Path.Combine(checkpoint, TrainingState.FileName)}: {Require.Text(e)}", e);
        }
        Step = state.Step;
        checkpointStep = state.Step;
        elapsedBefore = TimeSpan.FromSeconds(state.ElapsedSeconds);
        pendingLoss.copy_(tensor((float)state.PendingLoss));
        pendingSteps = state.PendingSteps;
        spikes = state.Spikes;
        history.AddRange(state.History);
        evaluations.AddRange(state.Evaluations);
    }

    // a checkpoint that is being written
    sealed record PendingSave(long Step, string Target, Task Writing);

    void Save(bool measure, CancellationToken cancellation)
    {
        CheckHealth();
        if (measure) Evaluate(cancellation);
        CompletePendingSave(wait: true);
        var began = Elapsed;
        var target = folder!.FolderOf(Step);
        using var scope = NewDisposeScope();
        // a checkpoint in the middle of a run is written while the next steps run
        if (measure && ranks.IsAlone && Options.AsynchronousCheckpoints)
        {
            var copy = new RunCopy(Model, objective?.TrainedHead, OptimizerTensors(), State());
            pending = new(Step, target, Task.Run(() =>
            {
                using (copy) AtomicWrite.Folder(target, copy.Write, CheckpointFiles);
            }));
            paused += Elapsed - began;
            return;
        }
        if (ranks.IsAlone) Write(target, OptimizerTensors());
        else new SharedCheckpoint(ranks, Model, optimizer, OtherTensors()).Write(target, marks => State() with { Files = marks });
        Saved(Step, target, began);
    }

    // takes note of a checkpoint that has been written in the meantime
    void CompletePendingSave(bool wait)
    {
        if (pending is not { } save || !(wait || save.Writing.IsCompleted)) return;
        pending = null;
        var began = Elapsed;
        save.Writing.GetAwaiter().GetResult();
        Saved(save.Step, save.Target, began);
    }

    // after a failure of the run: the failure of the write, if there is one, is not reported
    void AbandonPendingSave()
    {
        if (pending is not { } save) return;
        pending = null;
        try
        {
            save.Writing.Wait();
            checkpointStep = save.Step;
            knownSteps.Add(save.Step);
        }
        catch (AggregateException)
        {
            // the run has failed for another reason
        }
    }

    void Saved(long step, string target, TimeSpan began)
    {
        checkpointStep = step;
        knownSteps.Add(step);
        ranks.OnFirst(() => folder!.Retain(Options, step, evaluations));
        paused += Elapsed - began;
        foreach (var callback in callbacks) callback.OnCheckpoint(this, target);
    }

    void Write(string target, IEnumerable<KeyValuePair<string, Tensor>> tensors) => AtomicWrite.Folder(target, fresh =>
    {
        using var scope = NewDisposeScope();
        Checkpoint.Write(Model, objective?.TrainedHead, fresh, ScalarType.Float32);
        SafetensorsFile.Write(Path.Combine(fresh, OptimizerFile), tensors);
        (State() with { Files = Marks(fresh) }).Write(fresh);
    }, CheckpointFiles);

    IEnumerable<KeyValuePair<string, Tensor>> OptimizerTensors() => optimizer.State.Concat(OtherTensors());

    Dictionary<string, Tensor> OtherTensors()
    {
        var tensors = new Dictionary<string, Tensor> { [RandomName] = TorchRandom.Read() };
        if (Model.Adapters()?.DropoutState() is { } dropout) tensors.Add(DropoutName, dropout);
        return tensors;
    }

    TrainingState State() => new()
    {
        Version = TrainingState.CurrentVersion, Options = Options, Compute = Model.ComputeType, Step = Step, Tokens = Tokens,
        Position = reader.Position, ElapsedSeconds = Elapsed.TotalSeconds, Data = training.Description, Objective = objective?.Description,
        Frozen = Frozen(), PendingLoss = pendingLoss.item<float>(), PendingSteps = pendingSteps, Spikes = spikes,
        HeldOutLoss = evaluations.Count > 0 && evaluations[^1].Step == Step ? evaluations[^1].Result.Loss : null, History = history,
        Evaluations = evaluations,
    };

    internal static Dictionary<string, FileMark> Marks(string folder) =>
        Checkpoint.Files.Append(OptimizerFile).Where(name => File.Exists(Path.Combine(folder, name)))
            .ToDictionary(name => name, name => FileMark.FromFile(Path.Combine(folder, name)));

    /// <summary>Checks what the first save needs: mixers are registered, the folder is writable, and the disk has enough space.</summary>
    void RequireSavable(RunFolder run)
    {
        _ = Model.Design.ToJson();
        const long others = 1 << 16;        // headers, design and history
        var tensors = Model.WholeState().Values.Concat(objective?.TrainedHead?.State.Values ?? []);
        long bytes = tensors.Sum(value => value.NumberOfElements * value.ElementSize);
        run.RequireRoom(bytes + RankedOptimizer.StateBytes(Options.Optimizer, parameters) + others);
    }
}
