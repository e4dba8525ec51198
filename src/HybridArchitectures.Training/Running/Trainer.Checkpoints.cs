using HybridArchitectures.Checkpoints;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using static TorchSharp.torch;

namespace HybridArchitectures.Training;

public sealed partial class Trainer
{
    const string OptimizerFile = "optimizer.safetensors", RandomName = "random_state", DropoutName = "dropout_state";

    /// <summary>Whether a run's folder holds a checkpoint to go on from.</summary>
    public static bool HasCheckpoint(string folder)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        return new RunFolder(folder).Checkpoints().Count > 0;
    }

    /// <summary>Goes on with a run from a checkpoint.</summary>
    /// <param name="folder">The run's folder, for its latest checkpoint, or the folder of one checkpoint.</param>
    /// <param name="training">The data the run was begun with.</param>
    /// <param name="heldOut">The data to measure on; null to measure nothing.</param>
    /// <param name="callbacks">What else is to be done along the way.</param>
    /// <param name="device">Where the model shall live; null for the CPU.</param>
    /// <param name="change">Changes options, such as a longer budget; the batch's make-up and the seed must stay.</param>
    /// <param name="skipDamaged">Whether to take the latest sound checkpoint before one that is damaged. The default value is false: damage is an
    /// error, whose
    /// message names the earlier checkpoint that is sound.</param>
    /// <returns>A trainer with a model of its own, which is the caller's to dispose.</returns>
    /// <exception cref="InvalidDataException">A file is damaged (its size and checksum are compared with those in <c>training.json</c>), the
    /// checkpoint's folder
    /// was renamed, or the data is not the run's.</exception>
    /// <exception cref="IOException">Another trainer runs in the folder, or it cannot be written.</exception>
    public static Trainer Resume(string folder, ITrainingData training, TokenDataset? heldOut = null, IEnumerable<TrainingCallback>? callbacks = null,
        Device? device = null, Func<TrainingOptions, TrainingOptions>? change = null, bool skipDamaged = false)
    {
        ArgumentNullException.ThrowIfNull(training);
        string run = RunFolder.Find(folder).Run;
        // a running trainer might retire the checkpoint while it is read
        using var held = new RunFolder(run).Hold();
        var (checkpoint, state) = new RunFolder(run).ReadSound(RunFolder.Find(folder).Checkpoint, skipDamaged);
        if (state.Data != training.Description)
            throw new InvalidDataException($"{checkpoint}: the run was trained on {state.Data}; the data given is {training.Description}");
        var options = (change?.Invoke(state.Options) ?? state.Options) with { Folder = run };
        static object MakeUp(TrainingOptions of) => (of.ContextLength, of.BatchSize, of.Seed, of.SeparateDocuments);
        if (!MakeUp(options).Equals(MakeUp(state.Options)))
            throw new ArgumentException(
                $"{nameof(change)} changes the context length, batch size, seed or separation of documents; expected those the run began with", nameof(change));
        var model = Checkpoint.Load(checkpoint, state.Compute, device);
        Trainer? trainer = null;
        try
        {
            trainer = new Trainer(model, training, options, heldOut, callbacks, resumed: true);
            trainer.Restore(checkpoint, state);
            return trainer;
        }
        catch
        {
            trainer?.Dispose();
            model.Dispose();
            throw;
        }
    }

    void Restore(string checkpoint, TrainingState state)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var file = SafetensorsFile.Open(Path.Combine(checkpoint, OptimizerFile));
        var random = TorchRandom.Read();
        var targets = optimizer.State.Append(new(RandomName, random)).ToDictionary(item => item.Key, item => item.Value);
        var dropout = file.Contains(DropoutName) ? Model.Adapters?.DropoutState() : null;
        if (dropout is not null) targets.Add(DropoutName, dropout);
        file.ReadInto(targets);
        randomState = TensorMemory.Span<byte>(random).ToArray();
        if (dropout is not null) Model.Adapters!.RestoreDropout(dropout);
        if (optimizer.ReadSteps() != state.Step - state.Spikes.Skipped)
            throw new InvalidDataException($"{file.Path}: the optimizer has made {optimizer.ReadSteps()} steps; expected {state.Step - state.Spikes.Skipped}");
        try
        {
            sampler.Position = state.Position;
        }
        catch (ArgumentException e)
        {
            throw new InvalidDataException($"{Path.Combine(checkpoint, TrainingState.FileName)}: {HybridArchitectures.Design.Require.Text(e)}", e);
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

    void Save(bool measure, CancellationToken cancellation)
    {
        CheckHealth();
        if (measure) Evaluate(cancellation);
        var began = Elapsed;
        var target = folder!.FolderOf(Step);
        double? heldOutLoss = evaluations.Count > 0 && evaluations[^1].Step == Step ? evaluations[^1].Result.Loss : null;
        AtomicWrite.Folder(target, fresh =>
        {
            using var scope = NewDisposeScope();
            Checkpoint.Write(Model, fresh);
            var state = optimizer.State.Append(new(RandomName, TorchRandom.Read()));
            if (Model.Adapters?.DropoutState() is { } dropout) state = state.Append(new(DropoutName, dropout));
            SafetensorsFile.Write(Path.Combine(fresh, OptimizerFile), state);
            new TrainingState
            {
                Version = TrainingState.CurrentVersion, Options = Options, Compute = Model.ComputeType, Step = Step, Tokens = Tokens, Position = sampler.Position,
                ElapsedSeconds = Elapsed.TotalSeconds, Data = training.Description, PendingLoss = pendingLoss.item<float>(), PendingSteps = pendingSteps, Spikes = spikes,
                HeldOutLoss = heldOutLoss, History = history, Evaluations = evaluations, Files = Marks(fresh),
            }.Write(fresh);
        }, [Checkpoint.DesignFile, Checkpoint.ModelFile, OptimizerFile, TrainingState.FileName]);
        checkpointStep = Step;
        knownSteps.Add(Step);
        folder.Retain(Options, Step, evaluations);
        paused += Elapsed - began;
        foreach (var callback in callbacks) callback.OnCheckpoint(this, target);
    }

    static Dictionary<string, FileMark> Marks(string folder) =>
        new[] { Checkpoint.DesignFile, Checkpoint.ModelFile, OptimizerFile }
            .ToDictionary(name => name, name => FileMark.FromFile(Path.Combine(folder, name)));

    /// <summary>
    /// Refuses what would make the first save fail: a mixer that is not registered, a folder that cannot be written, a disk that is full.
    /// </summary>
    void RequireSavable(RunFolder run)
    {
        _ = Model.Design.ToJson();
        const long others = 1 << 16;        // headers, design and history
        long parameters = Model.WholeState().Values.Sum(value => value.NumberOfElements * value.ElementSize);
        run.RequireRoom(parameters + optimizer.State.Values.Sum(value => value.NumberOfElements * value.ElementSize) + others);
    }
}
