using System.Diagnostics;
using HybridArchitectures.Adapters;
using HybridArchitectures.Models;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Distributed;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Running;

/// <summary>
/// Trains a language model: AdamW or Muon over shuffled windows of text, with gradient accumulation, evaluation, checkpoints, and a guard against
/// values that are not finite.
/// </summary>
/// <remarks>
/// <para>
/// Runs with the same seed and initial model are bit-identical on the CPU. A run that was cancelled, or killed after a checkpoint, continues
/// bit-identically. If the duration is a time, the number of steps and the learning rates depend on the clock.
/// </para>
/// <para>
/// With <see cref="DataParallel"/>, several processes train one model. Reports and evaluations are those of rank 0. All ranks write a checkpoint
/// together, to a folder that all of them can access. Callbacks run on all ranks. A callback that changes the model must do the same on each rank.
/// </para>
/// <para>
/// During a run, torch's default CPU generator belongs to the run: it starts with <see cref="TrainingOptions.Seed"/> and is restored afterwards.
/// Nothing is read from the device between reports.
/// </para>
/// </remarks>
/// <example>
/// <code>
/// using var data = TokenDataset.FromTokens(Enumerable.Range(0, 20_000).Select(i => i * i % 251).ToArray(), 256);
/// var (training, heldOut) = data.Split();
/// using var model = HybridDesign.Create(width: 32, vocabularySize: 256).WithMamba2(stateSize: 8, headSize: 8)
///     .WithFeedForward(FeedForwardSpec.SwiGlu(64)).Depth(2).Build().CreateModel(seed: 0);
/// var options = new TrainingOptions
/// {
///     LearningRate = 3e-3, ContextLength = 64, BatchSize = 4, Duration = Duration.Steps(10), Folder = "runs/trainer-example",
/// };
/// using var trainer = Trainer.HasCheckpoint(options.Folder)
///     ? Trainer.Resume(options.Folder, training, heldOut)
///     : new Trainer(model, training, options, heldOut);
/// TrainingResult result = trainer.Run();
/// Console.WriteLine($"{result.Final!.Loss:0.000} nats per token after {result.Steps} steps");
/// </code>
/// </example>
public sealed partial class Trainer : IDisposable
{
    readonly ITrainingData training;
    readonly TokenDataset? heldOut;
    readonly TrainingReader reader;
    readonly RankedOptimizer optimizer;
    readonly TrainingCallback[] callbacks;
    readonly TrainingObjective? objective;
    readonly RunFolder? folder;
    readonly Tensor pendingLoss;
    readonly CapturedStep? captured;
    readonly RunMeter meter;
    readonly List<TrainingProgress> history = [];
    readonly List<EvaluationPoint> evaluations = [];
    readonly Queue<DataPosition> recentPositions = new();        // the start of each step since the last check of the optimizer
    readonly Stopwatch clock = new();
    readonly HashSet<long> knownSteps = [];      // checkpoints that this trainer found or wrote
    TimeSpan elapsedBefore, reportedAt, paused, stepTime, evaluationTime;
    SpikeWatch spikes = new();
    readonly IReadOnlyList<ModelParameter> parameters;
    byte[] randomState;
    bool disposed, hasBegun;
    int pendingSteps;
    long checkpointStep = -1, reportedTokens;
    readonly int savedBlocks;

    /// <summary>Prepares a run that starts with the current parameters of a model.</summary>
    /// <param name="model">The model, on its device. The caller disposes it.</param>
    /// <param name="training">
    /// The training data: a <see cref="TokenDataset"/>, an <see cref="ExampleDataset"/>, <see cref="GeneratedData"/>, or several by weight (
    /// <see cref="DataMixture"/>).
    /// </param>
    /// <param name="options">The options.</param>
    /// <param name="heldOut">The held-out data. The default, null, means that no held-out loss is measured.</param>
    /// <param name="callbacks">Further actions during the run. The default, null, means none.</param>
    /// <param name="parallel">The ranks that train the model together. The default, null, means this process alone.</param>
    /// <exception cref="ArgumentException">
    /// An option is out of range, the data does not fit the model, the folder contains another run, or the design cannot be saved.
    /// </exception>
    /// <exception cref="CollectiveException">The ranks do not train the same model with the same options and data, or one has failed.</exception>
    /// <exception cref="ObjectDisposedException">The model is disposed.</exception>
    /// <exception cref="IOException">The folder is in use, is not writable, or has not enough space for a checkpoint.</exception>
    public Trainer(HybridLanguageModel model, ITrainingData training, TrainingOptions options, TokenDataset? heldOut = null,
        IEnumerable<TrainingCallback>? callbacks = null, DataParallel? parallel = null)
        : this(model, training, options, heldOut, callbacks, parallel, resumed: false)
    {
    }

    Trainer(HybridLanguageModel model, ITrainingData training, TrainingOptions options, TokenDataset? heldOut,
        IEnumerable<TrainingCallback>? callbacks, DataParallel? parallel, bool resumed)
    {
        Check(model, training, options, heldOut, parallel);
        using var ordinary = inference_mode(false);      // tensors of inference mode could not be updated later
        ranks = new RankGroup(parallel);
        (Model, this.training, Options, this.heldOut, this.callbacks) = (model, training, options, heldOut, ToArray(callbacks));
        objective = FindObjective(this.callbacks);
        reader = training.OpenReader(new TrainingReaderOptions(options.ContextLength, options.Seed, options.SeparateDocuments));
        folder = options.Folder is null ? null : new RunFolder(Path.GetFullPath(options.Folder));
        randomState = TorchRandom.StateOfSeed(options.Seed);
        hasBegun = resumed;
        parameters = Trained(model);
        pendingLoss = zeros([], ScalarType.Float32, model.Device).DetachFromDisposeScope();
        try
        {
            // refuses parameters that cannot be optimized before anything is written or divided
            if (ranks.IsAlone) optimizer = new RankedOptimizer(ranks, options.Optimizer, parameters, null);
            Prepare(resumed);
            savedBlocks = options.SavedBlocks ?? CountFreeBlocks();
            ranks.DivideByMachine();
            if (ranks.DividesParameters) sharded = new ShardedParameters(ranks, model, parameters, options.Optimizer);
            optimizer ??= new RankedOptimizer(ranks, options.Optimizer, parameters, sharded);
            // a block that is computed again casts its weights, which are then in memory for that time alone
            optimizer.Own.KeepsCopies = !options.ActivationCheckpointing && !model.Stack.ActivationCheckpointing;
            if (!ranks.IsAlone) exchange = StepExchange.Create(ranks, model, parameters, sharded, optimizer.Shards);
            if (ranks.IsAlone && CapturedStep.Refusal(model, options, objective) is null)
                captured = new(model, optimizer.Own, options.ClipNorm ?? double.PositiveInfinity, options.BatchSize, options.RowsPerPass,
                    options.ContextLength);
        }
        catch
        {
            Dispose();
            throw;
        }
        meter = new(model, options.ContextLength, ranks.Size);
        ChecksEveryStep = model.Device.type == DeviceType.CPU || options.SpikeGuard is not null;
    }

    // the parameters of the model, and of a head that is trained with it
    IReadOnlyList<ModelParameter> Trained(HybridLanguageModel model)
    {
        if (objective?.TrainedHead is not { } head) return model.Parameters;
        head.RequireFit(model);
        if (!ranks.IsAlone)
            throw new NotSupportedException($"{nameof(MultiTokenPrediction)} trains a head on {ranks.Size} ranks; expected 1.");
        return [.. model.Parameters, .. head.Parameters.Select(item => item with { Name = HeadPrefix + item.Name })];
    }

    static void Check(HybridLanguageModel model, ITrainingData training, TrainingOptions options, TokenDataset? heldOut, DataParallel? parallel)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(training);
        ArgumentNullException.ThrowIfNull(options);
        options.Check();
        parallel?.Check();
        model.RequireAlive();
        CheckVocabulary(training.VocabularySize, model, nameof(training));
        if (heldOut is not null) CheckVocabulary(heldOut.VocabularySize, model, nameof(heldOut));
        int blocks = model.Stack.Blocks.Count;
        if (options.SavedBlocks > blocks)
            throw Require.OutOfRange(nameof(options.SavedBlocks), options.SavedBlocks, $"0 to {blocks} blocks of the model, or null");
        if (heldOut is { Count: < 2 }) throw Require.Unfit(nameof(heldOut), $"heldOut has {heldOut.Count} token", "at least 2");
    }

    void Prepare(bool resumed)
    {
        RequireRows();
        RequireSameRun(resumed);
        ranks.OnFirst(() =>
        {
            if (folder is not null) RequireFolder(folder, resumed);
            RequireTargets();
        });
        if (folder is not null && !ranks.IsAlone) RequireCommonFolder(folder);
        StepExchange.CopyModel(ranks, Model);
    }

    void RequireFolder(RunFolder run, bool resumed)
    {
        if (!resumed && run.Checkpoints() is [.., var last])
            throw Require.Unfit("options",
                $"Folder is '{Options.Folder}', which already contains a run ({Path.GetFileName(last.Folder)})",
                $"another folder; {nameof(Trainer)}.{nameof(Resume)} continues the run");
        foreach (var (step, _) in run.Checkpoints()) knownSteps.Add(step);
        TrainingState.RequireSavable(Options);
        if (!resumed) RequireSavable(run);
    }

    // otherwise, the final measurement would fail after all the work
    void RequireTargets()
    {
        if (heldOut is null || !Options.SeparateDocuments) return;
        for (long start = 0; start < heldOut.Count - 1; start += Options.ContextLength)
        {
            using var scope = NewDisposeScope();
            using var batch = WindowSampler.Read(
                default, [(heldOut, start)], (int)Math.Min(Options.ContextLength, heldOut.Count - 1 - start), true, CPU);
            if (batch.Counted > 0) return;
        }
        throw Require.Unfit(nameof(heldOut), "heldOut has no target that counts: every document has one token", "documents of at least 2 tokens");
    }

    static TrainingCallback[] ToArray(IEnumerable<TrainingCallback>? callbacks) => callbacks is null ? [] : [.. Require.EachItem(callbacks)];

    static TrainingObjective? FindObjective(IEnumerable<TrainingCallback> callbacks)
    {
        TrainingObjective[] found = [.. callbacks.OfType<TrainingObjective>()];
        Require.InRange(found.Length <= 1, nameof(callbacks), found.Length, "at most 1 objective");
        return found.FirstOrDefault();
    }

    static void CheckVocabulary(int vocabulary, HybridLanguageModel model, string name)
    {
        if (vocabulary > model.VocabularySize)
            throw Require.Unfit(name, $"{name} has a vocabulary size of {vocabulary}", $"{model.VocabularySize}, that of the model");
    }

    /// <summary>Gets the model.</summary>
    public HybridLanguageModel Model { get; }

    /// <summary>Gets the options.</summary>
    public TrainingOptions Options { get; }

    /// <summary>Gets the number of steps so far.</summary>
    public long Step { get; private set; }

    /// <summary>Gets the number of steps that the <see cref="SpikeGuard"/> skipped.</summary>
    public long SkippedSteps => spikes.Skipped;

    /// <summary>Gets the number of tokens so far, including those of skipped steps.</summary>
    public long Tokens => Step * Options.TokensPerStep;

    /// <summary>Gets the training time, including earlier runs if the run was resumed.</summary>
    public TimeSpan Elapsed => elapsedBefore + clock.Elapsed;

    /// <summary>Gets the position in the data of the rows of the next step.</summary>
    public DataPosition Position => reader.Position;

    /// <summary>Trains until the duration is over or until cancelled. Then, a checkpoint is written if there is a folder.</summary>
    /// <param name="progress">Receives a report every <see cref="TrainingOptions.ReportEvery"/> steps. The default, null, reports nothing.</param>
    /// <param name="cancellation">Ends the run after the current step.</param>
    /// <returns>The result of the run.</returns>
    /// <exception cref="TrainingDivergedException">A loss or gradient was not finite.</exception>
    /// <exception cref="IOException">Another trainer uses, or has saved in, the same folder, or a checkpoint cannot be written.</exception>
    /// <exception cref="CollectiveException">Another rank failed, or did not answer in time.</exception>
    /// <exception cref="ObjectDisposedException">The trainer or the model is disposed.</exception>
    /// <exception cref="InvalidOperationException">
    /// The model is being trained by another run, its parameters were replaced after the trainer was created, or gradients are off.
    /// </exception>
    /// <exception cref="InsufficientMemoryException">
    /// A step does not fit the memory of the device. The message contains the estimate of the cost model and what would need less. The model and the
    /// optimizer are those before the step.
    /// </exception>
    public TrainingResult Run(IProgress<TrainingProgress>? progress = null, CancellationToken cancellation = default)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        Model.RequireAlive();
        RequireTrainable();
        using var turn = TrainingTurn.Begin(Model);
        IDisposable? folderLock = null;
        ranks.OnFirst(() => folderLock = LockFolder());
        if (!hasBegun) Model.Adapters()?.SeedDropout(Options.Seed);
        hasBegun = true;
        var callerRandomState = TorchRandom.ReadBytes();
        TorchRandom.Write(randomState);
        try
        {
            BeginExchange();
            using var agreed = ranks.IsAlone ? null : new CancellationTokenSource();
            var result = RunSteps(ranks.IsFirst ? progress : null, agreed, cancellation);
            GatherAfterRun();
            return result;
        }
        catch (TrainingDivergedException)
        {
            GatherAfterRun();       // on all ranks
            throw;
        }
        catch
        {
            ranks.Collectives.Abandon();
            throw;
        }
        finally
        {
            Model.Stack.Hooks = null;
            randomState = TorchRandom.ReadBytes();
            TorchRandom.Write(callerRandomState);
            folderLock?.Dispose();
        }
    }

    void RequireTrainable()
    {
        if (!torch.is_grad_enabled())
            throw new InvalidOperationException(
                "Gradients are off; expected that a trainer runs outside of torch.no_grad() and torch.inference_mode().");
        if (ranks.IsAlone && parameters.FirstOrDefault(parameter => parameter.Value.IsInvalid) is { } lost)
            throw new InvalidOperationException(
                $"The parameter '{lost.Name}' was replaced, for example by model.to(...); "
                + "expected that a model is moved before its trainer is created.");
    }

    IDisposable? LockFolder()
    {
        var folderLock = folder?.Lock();
        try
        {
            folder?.RequireUnchanged(knownSteps);
            return folderLock;
        }
        catch
        {
            folderLock?.Dispose();
            throw;
        }
    }

    TrainingResult RunSteps(IProgress<TrainingProgress>? progress, CancellationTokenSource? agreed, CancellationToken own)
    {
        var cancellation = agreed?.Token ?? own;
        if (checkpointStep >= 0) ranks.OnFirst(() => folder?.Retain(Options, checkpointStep, evaluations));      // an earlier process may have died
        clock.Start();
        (reportedAt, reportedTokens, paused) = (Elapsed, Tokens, TimeSpan.Zero);
        try
        {
            foreach (var callback in callbacks) callback.OnStart(this);
            if (IsEvaluationDue) Evaluate(cancellation);     // a cancelled run may have omitted it
            while (!IsDone)
            {
                if (agreed is not null) AgreeOnCancellation(agreed, own);
                if (cancellation.IsCancellationRequested) break;
                StepAndReport(progress, cancellation);
            }
            CheckHealth();
            CompletePendingSave(wait: true);
            bool completed = IsDone;
            if (completed) Evaluate(cancellation);
            if (folder is not null && checkpointStep != Step) Save(measure: false, cancellation);
            clock.Stop();
            var saved = folder is null || checkpointStep != Step ? null : folder.FolderOf(Step);
            var result = new TrainingResult(completed, Step, Tokens, Elapsed, history.ToArray(), evaluations.ToArray(), saved,
                completed || saved is null ? null : $"{nameof(Trainer)}.{nameof(Resume)}(\"{folder!.Path}\", ...) goes on from step {Step}");
            foreach (var callback in callbacks) callback.OnEnd(this, result);
            return result;
        }
        finally
        {
            AbandonPendingSave();
            clock.Stop();
            elapsedBefore += clock.Elapsed;
            clock.Reset();
        }
    }

    void StepAndReport(IProgress<TrainingProgress>? progress, CancellationToken cancellation)
    {
        var began = Elapsed;
        var (rate, norm) = RunStep();
        if (ChecksEveryStep) CheckHealth();
        var taken = Elapsed - began;
        stepTime = stepTime == TimeSpan.Zero ? taken : 0.9 * stepTime + 0.1 * taken;
        if (Step == 1 || Step % Options.ReportEvery == 0 || IsDone) Report(progress, rate, norm);
        norm.Dispose();
        CompletePendingSave(wait: false);
        if (IsEvaluationDue) Evaluate(cancellation);
        if (Options.CheckpointEvery > 0 && Step % Options.CheckpointEvery == 0 && !IsDone && !cancellation.IsCancellationRequested)
            Save(measure: true, cancellation);
    }

    /// <summary>Gets the number of kernels, copies and fills of a captured step; 0 if steps are not captured.</summary>
    internal long CapturedNodes => captured?.Nodes ?? 0;

    /// <summary>Gets the number of captures of a step.</summary>
    internal int Captures => captured?.Captures ?? 0;

    /// <summary>Gets why the capture of a step failed; null if it did not fail.</summary>
    internal string? CaptureFailure => captured?.Failure;

    internal IReadOnlyDictionary<string, Tensor> OptimizerState => optimizer.State;

    /// <summary>
    /// Gets or sets whether every step is checked for values that are not finite. On a GPU, that would wait for the device, so by default they are
    /// found at the next report.
    /// </summary>
    internal bool ChecksEveryStep { get; set; }

    bool IsEvaluationDue => Options.EvaluateEvery > 0 && Step > 0 && Step % Options.EvaluateEvery == 0;

    // if the duration is a time, the clock of rank 0 decides for all ranks
    bool IsDone => Options.TotalSteps is { } total ? Step >= total
        : ranks.FromFirst(Step > 0 && Elapsed + stepTime > TrainingTime ? 1 : 0)[0] != 0;

    // time for the final evaluation is reserved from a duration in time; until the first one, a pass without gradients counts as one third of a step
    TimeSpan TrainingTime
    {
        get
        {
            var budget = Options.Duration.TimeBudget!.Value;
            if (heldOut is null) return budget;
            long measured = Options.EvaluationTokens == 0 ? heldOut.Count : Math.Min(heldOut.Count, Options.EvaluationTokens);
            var reserve = evaluationTime > TimeSpan.Zero ? evaluationTime : stepTime * (measured / 3.0 / Options.TokensPerStep);
            return reserve < budget / 2 ? budget - reserve : budget / 2;
        }
    }

    // the completed share of the run, and the share of one step, from 0 to 1
    double ProgressShare => Options.TotalSteps is { } total ? Math.Min(1, (double)Step / total) : Math.Min(1, Elapsed / TrainingTime);

    double StepShare => Options.TotalSteps is { } total ? 1.0 / total : Math.Min(1, stepTime / TrainingTime);

    void CheckHealth()
    {
        if (!optimizer.ReadFailed())
        {
            recentPositions.Clear();
            return;
        }
        CompletePendingSave(wait: true);
        // the optimizer has not changed anything since the failed step, so the parameters are those of that step
        long step = optimizer.ReadSteps() + spikes.Skipped + 1;
        var position = recentPositions.ElementAt((int)(step - (Step - recentPositions.Count)) - 1);
        var batches = new List<TokenBatch>();
        string cause;
        try
        {
            reader.Position = position;
            ReadBatches(batches);
            if (ranks.Sum(batches.Sum(batch => batch.WeightSum)) == 0) throw NoTargets(position);
            using var gathered = sharded?.Gather();     // ranks can need different numbers of passes
            cause = ranks.FirstText(Divergence.Find(Model, Trained(Model), objective, batches)) is not var (rank, text) ? Divergence.OnlyTheNorm
                : ranks.IsAlone ? text : $"{text} on rank {rank}";
        }
        finally
        {
            foreach (var batch in batches) batch.Dispose();
        }
        DropLoads();        // of the passes that have found the cause
        (Step, reader.Position, pendingSteps) = (step - 1, position, 0);
        using (no_grad()) pendingLoss.zero_();
        recentPositions.Clear();
        optimizer.ForgetFailure();
        var lastCheckpoint = checkpointStep >= 0 ? $"; the last checkpoint is {folder!.FolderOf(checkpointStep)}" : "";
        throw new TrainingDivergedException(
            $"step {step}: the loss or its gradient is not finite, first in {cause}; "
            + $"the {Options.BatchSize} rows begin at epoch {position.Epoch}, row {position.Index}. "
            + $"The parameters are those before the step{lastCheckpoint}.", step, position, cause);
    }

    void Report(IProgress<TrainingProgress>? progress, double rate, Tensor norm)
    {
        CheckHealth();
        using var scope = NewDisposeScope();
        // if all steps since the last report were skipped, that report's loss is repeated
        double loss = pendingSteps > 0 ? pendingLoss.item<float>() / pendingSteps
            : history.Count > 0 ? history[^1].Loss
            : double.NaN;
        var now = Elapsed;
        var spent = now - reportedAt - paused;
        double speed = spent > TimeSpan.Zero ? (Tokens - reportedTokens) / spent.TotalSeconds : 0;
        var left = RemainingTime(now, speed);
        var report = meter.Complete(
            new TrainingProgress(Step, Options.TotalSteps, Tokens, loss, rate, norm.item<float>(), speed, now, left, ProgressShare), spent);
        history.Add(report);
        using (no_grad()) pendingLoss.zero_();
        pendingSteps = 0;
        (reportedAt, reportedTokens, paused) = (now, Tokens, TimeSpan.Zero);
        progress?.Report(report);
        foreach (var callback in callbacks) callback.OnProgress(this, report);
    }

    // null if it is unknown: a run without speed, or more than 29,000 years
    TimeSpan? RemainingTime(TimeSpan now, double tokensPerSecond)
    {
        if (Options.TotalSteps is not { } total) return TrainingTime > now ? TrainingTime - now : TimeSpan.Zero;
        double seconds = (double)(total - Step) * Options.TokensPerStep / tokensPerSecond;
        return seconds < TimeSpan.MaxValue.TotalSeconds ? TimeSpan.FromSeconds(seconds) : null;
    }

    void Evaluate(CancellationToken cancellation)
    {
        if (heldOut is null || cancellation.IsCancellationRequested || (evaluations.Count > 0 && evaluations[^1].Step == Step)) return;
        CheckHealth();
        var began = Elapsed;
        Evaluation result;
        try
        {
            result = Evaluator.Evaluate(Model, heldOut, Options.ContextLength, Options.RowsPerPass, Options.EvaluationTokens,
                Options.SeparateDocuments, ranks, exchange, cancellation);
        }
        catch (OperationCanceledException)
        {
            return;     // the loop ends the run, with a checkpoint, at its next check
        }
        evaluationTime = Elapsed - began;
        paused += evaluationTime;
        var point = new EvaluationPoint(Step, Tokens, Elapsed, result);
        evaluations.Add(point);
        foreach (var callback in callbacks) callback.OnEvaluation(this, point);
    }

    /// <summary>Disposes the state of the optimizer. The model is not disposed.</summary>
    public void Dispose()
    {
        disposed = true;
        captured?.Dispose();
        optimizer?.Dispose();
        sharded?.Dispose();
        pendingLoss.Dispose();
        ranks.Dispose();
    }
}
