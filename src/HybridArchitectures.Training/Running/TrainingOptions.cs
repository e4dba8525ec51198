using HybridArchitectures.Models;

namespace HybridArchitectures.Training;

/// <summary>How a model is trained. Saved with every checkpoint, so that a resumed run goes on as it began.</summary>
public sealed record TrainingOptions
{
    /// <summary>The peak learning rate.</summary>
    public required double LearningRate { get; init; }

    /// <summary>Tokens a row.</summary>
    public required int ContextLength { get; init; }

    /// <summary>Rows a step.</summary>
    public required int BatchSize { get; init; }

    /// <summary>Rows a forward pass; the gradients of several are added up to a step's. 0: all rows of a step at once.</summary>
    public int MicroBatchSize { get; init; }

    /// <summary>Keep only the inputs of blocks and compute each block again in the backward pass: less memory for one more forward pass, and the same numbers bit for bit
    /// (<see cref="HybridStack.ActivationCheckpointing"/>).</summary>
    public bool ActivationCheckpointing { get; init; }

    /// <summary>Gets how long to train: a number of steps, a number of tokens, or a time.</summary>
    public required Duration Duration { get; init; }

    /// <summary>How the learning rate goes.</summary>
    public LearningRateSchedule Schedule { get; init; } = new TrapezoidSchedule();

    /// <summary>Constants of AdamW.</summary>
    public AdamWOptions Optimizer { get; init; } = new();

    /// <summary>The largest norm of all gradients together; null for no clipping.</summary>
    public double? ClipNorm { get; init; } = 1;

    /// <summary>Looks out for steps whose loss or gradient jumps; null for none. Numbers that are not finite end the run in any case.</summary>
    public SpikeGuard? SpikeGuard { get; init; }

    /// <summary>Keep the documents of a row apart. Off, as in arXiv 2510.04800, rows are read as one text.</summary>
    public bool SeparateDocuments { get; init; }

    /// <summary>Decides the order of the data.</summary>
    public long Seed { get; init; }

    /// <summary>Progress is told every so many steps. Telling it waits for the device.</summary>
    public int ReportEvery { get; init; } = 10;

    /// <summary>The held-out loss is measured every so many steps; 0: at the end only.</summary>
    public long EvaluateEvery { get; init; }

    /// <summary>
    /// Gets how many held-out tokens to measure on, spread evenly over the data and the same at every context length. The default, 0, measures on all.
    /// </summary>
    public long EvaluationTokens { get; init; }

    /// <summary>A checkpoint is written every so many steps; 0: at the end, and when the run is cancelled.</summary>
    public long CheckpointEvery { get; init; }

    /// <summary>The run's folder, in which checkpoints stand as <c>step-00000100</c>; null to save nothing.</summary>
    public string? Folder { get; init; }

    /// <summary>How many of the latest checkpoints to keep.</summary>
    public int KeepLast { get; init; } = 2;

    /// <summary>Whether the checkpoint with the lowest held-out loss is kept besides.</summary>
    public bool KeepBest { get; init; } = true;

    /// <summary>Checkpoints at multiples of so many steps are kept besides; 0: none.</summary>
    public long KeepEvery { get; init; }

    internal int RowsPerPass => MicroBatchSize == 0 ? BatchSize : Math.Min(MicroBatchSize, BatchSize);

    internal long TokensPerStep => (long)BatchSize * ContextLength;

    /// <summary>The number of steps, unless time decides.</summary>
    internal long? TotalSteps => Duration.StepCount ?? (Duration.TokenCount is { } tokens ? (tokens + TokensPerStep - 1) / TokensPerStep : null);

    /// <summary>Refuses what cannot be trained with.</summary>
    /// <exception cref="ArgumentException">Names the option, what it was and what was expected.</exception>
    public void Check()
    {
        Refuse.Unless(LearningRate > 0 && double.IsFinite(LearningRate), LearningRate, nameof(LearningRate), "a finite number above 0");
        Refuse.Unless(ContextLength > 0, ContextLength, nameof(ContextLength), "at least 1 token");
        Refuse.Unless(BatchSize > 0, BatchSize, nameof(BatchSize), "at least 1 row");
        Refuse.Unless(MicroBatchSize >= 0, MicroBatchSize, nameof(MicroBatchSize), "at least 0");
        ArgumentNullException.ThrowIfNull(Duration);
        ArgumentNullException.ThrowIfNull(Schedule);
        ArgumentNullException.ThrowIfNull(Optimizer);
        Schedule.Check();
        Optimizer.Check();
        SpikeGuard?.Check();
        Refuse.Unless(ClipNorm is null || (ClipNorm > 0 && double.IsFinite(ClipNorm.Value)), ClipNorm, nameof(ClipNorm), "a finite number above 0, or null");
        Refuse.Unless(ReportEvery > 0, ReportEvery, nameof(ReportEvery), "at least 1 step");
        Refuse.Unless(EvaluateEvery >= 0, EvaluateEvery, nameof(EvaluateEvery), "at least 0 steps");
        Refuse.Unless(EvaluationTokens >= 0, EvaluationTokens, nameof(EvaluationTokens), "at least 0 tokens");
        Refuse.Unless(CheckpointEvery >= 0, CheckpointEvery, nameof(CheckpointEvery), "at least 0 steps");
        Refuse.Unless(KeepLast > 0, KeepLast, nameof(KeepLast), "at least 1");
        Refuse.Unless(KeepEvery >= 0, KeepEvery, nameof(KeepEvery), "at least 0 steps");
        if (Folder is { Length: 0 }) throw new ArgumentException($"{nameof(Folder)} is empty; expected a path, or null to save nothing", nameof(Folder));
        if (CheckpointEvery > 0 && Folder is null)
            throw new ArgumentException($"{nameof(CheckpointEvery)} is {CheckpointEvery} but there is no {nameof(Folder)} to save in", nameof(Folder));
    }
}
