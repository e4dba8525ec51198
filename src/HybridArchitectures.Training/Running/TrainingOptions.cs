using HybridArchitectures.Models;
using HybridArchitectures.Training.Optimization;

namespace HybridArchitectures.Training.Running;

/// <summary>Contains the options of a training run. They are saved with every checkpoint, and a resumed run uses them.</summary>
/// <example>
/// <code>
/// var options = new TrainingOptions
/// {
///     LearningRate = 6e-4,
///     ContextLength = 1024,
///     BatchSize = 64,
///     MicroBatchSize = 8,                                     // 8 forward passes per step
///     Duration = Duration.Tokens(100_000_000),
///     CheckpointEvery = 500,
///     Folder = "runs/example",
/// };
/// options.Check();
/// </code>
/// </example>
public sealed record TrainingOptions
{
    /// <summary>Gets or sets the peak learning rate, above 0.</summary>
    public required double LearningRate { get; init; }

    /// <summary>Gets or sets the context length: the number of tokens per row.</summary>
    public required int ContextLength { get; init; }

    /// <summary>Gets or sets the number of rows per step.</summary>
    public required int BatchSize { get; init; }

    /// <summary>
    /// Gets or sets the number of rows per forward pass. The gradients of the passes of a step are added. The default, 0, means all rows in one pass.
    /// </summary>
    public int MicroBatchSize { get; init; }

    /// <summary>
    /// Gets or sets whether only the inputs of blocks are saved for backward, and each block is computed again. This saves memory, costs one more
    /// forward pass, and produces bit-identical results (<see cref="HybridStack.ActivationCheckpointing"/>). The default is false.
    /// </summary>
    public bool ActivationCheckpointing { get; init; }

    /// <summary>
    /// Gets or sets the number of last blocks that save their activations although <see cref="ActivationCheckpointing"/> is on. More of them take
    /// less time and more memory (<see cref="Cost.TrainingMemory.FromDesign"/>). The default, null, means as many as add nothing to the estimate of
    /// the peak (<see cref="Cost.TrainingMemory.CountFreeBlocks"/>): their activations are where the gradients of the other blocks will
    /// be. With several passes or ranks, an objective or frozen parameters, these are 0.
    /// </summary>
    public int? SavedBlocks { get; init; }

    /// <summary>
    /// Gets or sets whether the steps of small models on a GPU are captured as a CUDA graph, which saves the time of the launches. Models with at
    /// most 300 million parameters are captured, with all passes of a step, unless there are an objective, a spike guard, documents, adapters,
    /// experts or custom mixers. Results do not change. The memory of a step is reserved for the graph. The default is true.
    /// </summary>
    public bool CudaGraphs { get; init; } = true;

    /// <summary>Gets or sets the duration: a number of steps, a number of tokens, or a time.</summary>
    public required Duration Duration { get; init; }

    /// <summary>Gets or sets the learning rate schedule. The default is a <see cref="TrapezoidSchedule"/>.</summary>
    public LearningRateSchedule Schedule { get; init; } = new TrapezoidSchedule();

    /// <summary>
    /// Gets or sets the optimizer and its constants: <see cref="AdamWOptions"/> or <see cref="MuonOptions"/>. The default is AdamW with its default
    /// constants.
    /// </summary>
    public OptimizerOptions Optimizer { get; init; } = new AdamWOptions();

    /// <summary>Gets or sets the maximum norm of all gradients together. Null disables clipping. The default is 1.</summary>
    public double? ClipNorm { get; init; } = 1;

    /// <summary>
    /// Gets or sets the guard that detects sudden jumps of the loss or gradient norm. The default, null, disables it. Values that are not finite end
    /// the run in any case.
    /// </summary>
    public SpikeGuard? SpikeGuard { get; init; }

    /// <summary>
    /// Gets or sets whether documents in a row are kept apart. The default, false, reads a row as one text, as in arXiv 2510.04800.
    /// </summary>
    public bool SeparateDocuments { get; init; }

    /// <summary>Gets or sets the seed of all random numbers of the run. The default is 0.</summary>
    public long Seed { get; init; }

    /// <summary>Gets or sets the number of steps between reports. Each report waits for the device. The default is 10.</summary>
    public int ReportEvery { get; init; } = 10;

    /// <summary>Gets or sets the number of steps between measurements of the held-out loss. The default, 0, measures only at the end.</summary>
    public long EvaluateEvery { get; init; }

    /// <summary>
    /// Gets or sets the number of held-out tokens to measure, evenly spread over the data and the same at every context length. The default, 0,
    /// measures all.
    /// </summary>
    public long EvaluationTokens { get; init; }

    /// <summary>
    /// Gets or sets the number of steps between checkpoints. The default, 0, writes one only at the end and when the run is cancelled.
    /// </summary>
    public long CheckpointEvery { get; init; }

    /// <summary>
    /// Gets or sets whether checkpoints in the middle of a run are copied to main memory and written while the next steps run. They need main memory
    /// for the model and the state of the optimizer. A failure of the write ends the run after a later step. On several ranks, checkpoints are always
    /// written before the next step. The default is true.
    /// </summary>
    public bool AsynchronousCheckpoints { get; init; } = true;

    /// <summary>
    /// Gets or sets the folder of the run, which contains checkpoints such as <c>step-00000100</c>. The default, null, saves nothing.
    /// </summary>
    public string? Folder { get; init; }

    /// <summary>Gets or sets the number of latest checkpoints to keep. The default is 2.</summary>
    public int KeepLast { get; init; } = 2;

    /// <summary>Gets or sets whether the checkpoint with the minimum held-out loss is also kept. The default is true.</summary>
    public bool KeepBest { get; init; } = true;

    /// <summary>Gets or sets the number of steps whose multiples are also kept as checkpoints. The default, 0, means none.</summary>
    public long KeepEvery { get; init; }

    // where, and which, checkpoints are kept
    static readonly string[] storage = [nameof(Folder), nameof(KeepLast), nameof(KeepBest), nameof(KeepEvery)];

    // when the run reports, measures and saves, and how it computes the same numbers
    static readonly string[] pace =
    [
        nameof(ActivationCheckpointing), nameof(SavedBlocks), nameof(CudaGraphs), nameof(ReportEvery), nameof(EvaluateEvery), nameof(CheckpointEvery),
        nameof(AsynchronousCheckpoints),
    ];

    /// <summary>
    /// Gets the names of the options that change neither the trained weights nor their final held-out loss. If time ends the run, options that take
    /// time change the number of steps, so they are not among them.
    /// </summary>
    internal IReadOnlyList<string> WithoutEffect => Duration.TimeBudget is null ? [.. storage, .. pace] : storage;

    internal int RowsPerPass => MicroBatchSize == 0 ? BatchSize : Math.Min(MicroBatchSize, BatchSize);

    internal long TokensPerStep => (long)BatchSize * ContextLength;

    /// <summary>Gets the number of steps, unless the duration is a time.</summary>
    internal long? TotalSteps => Duration.StepCount ?? (Duration.TokenCount is { } tokens ? (tokens - 1) / TokensPerStep + 1 : null);

    /// <summary>Checks the options.</summary>
    /// <exception cref="ArgumentException">An option is invalid. The message contains its name, its value, and what was expected.</exception>
    public void Check()
    {
        Require.InRange(LearningRate > 0 && double.IsFinite(LearningRate), nameof(LearningRate), LearningRate, "a finite number above 0");
        Require.InRange(ContextLength > 0, nameof(ContextLength), ContextLength, "at least 1 token");
        Require.InRange(BatchSize > 0, nameof(BatchSize), BatchSize, "at least 1 row");
        Require.AtLeast(MicroBatchSize, 0);
        Require.InRange(SavedBlocks is null or >= 0, nameof(SavedBlocks), SavedBlocks, "at least 0 blocks, or null");
        if (SavedBlocks > 0 && !ActivationCheckpointing)
            throw Require.Unfit(nameof(SavedBlocks), $"{nameof(SavedBlocks)} is {SavedBlocks}",
                $"0 or null, because {nameof(ActivationCheckpointing)} is false and all blocks save their activations");
        ArgumentNullException.ThrowIfNull(Duration);
        ArgumentNullException.ThrowIfNull(Schedule);
        ArgumentNullException.ThrowIfNull(Optimizer);
        Schedule.Check();
        Optimizer.Check();
        SpikeGuard?.Check();
        Require.InRange(ClipNorm is null || (ClipNorm > 0 && double.IsFinite(ClipNorm.Value)), nameof(ClipNorm), ClipNorm,
            "a finite number above 0, or null");
        Require.InRange(ReportEvery > 0, nameof(ReportEvery), ReportEvery, "at least 1 step");
        Require.InRange(EvaluateEvery >= 0, nameof(EvaluateEvery), EvaluateEvery, "at least 0 steps");
        Require.InRange(EvaluationTokens >= 0, nameof(EvaluationTokens), EvaluationTokens, "at least 0 tokens");
        Require.InRange(CheckpointEvery >= 0, nameof(CheckpointEvery), CheckpointEvery, "at least 0 steps");
        Require.InRange(KeepLast > 0, nameof(KeepLast), KeepLast, "at least 1");
        Require.InRange(KeepEvery >= 0, nameof(KeepEvery), KeepEvery, "at least 0 steps");
        if (Folder is { Length: 0 })
            throw Require.Unfit(nameof(Folder), $"{nameof(Folder)} is empty", "a path, or null to save nothing");
        if (CheckpointEvery > 0 && Folder is null)
            throw Require.Unfit(nameof(Folder), $"{nameof(Folder)} is null", $"a path, because {nameof(CheckpointEvery)} is {CheckpointEvery}");
    }
}
