using HybridArchitectures.Design;
using HybridArchitectures.Training.Optimization;
using HybridArchitectures.Training.Running;

namespace TrainRecipe;

/// <summary>Contains the settings of the command line.</summary>
sealed record Settings
{
    public required Recipe Recipe { get; init; }
    public string? Data { get; init; }
    public string? Tokenizer { get; init; }

    /// <summary>Gets the width. Null means that of the recipe.</summary>
    public int? Width { get; init; }
    public required int ContextLength { get; init; }
    public required int Rows { get; init; }
    public required int MicroRows { get; init; }
    public required long Steps { get; init; }
    public required bool Cuda { get; init; }
    public required string Folder { get; init; }
    public required long Seed { get; init; }

    /// <summary>
    /// Gets the schedule and optimizer of the paper. The learning rate is that of this size. For a narrower model, it grows in inverse proportion to
    /// the width, up to the maximum of the paper.
    /// </summary>
    public TrainingOptions Training => new()
    {
        LearningRate = Width is { } width ? Math.Min(6e-3, Recipe.Training.PeakLearningRate * Recipe.Design.Width / width)
            : Recipe.Training.PeakLearningRate,
        ContextLength = ContextLength, BatchSize = Rows, MicroBatchSize = MicroRows, Duration = Duration.Steps(Steps), Seed = Seed,
        Schedule = new TrapezoidSchedule { WarmUp = Recipe.Training.WarmUp, CoolDown = Recipe.Training.CoolDown },
        ActivationCheckpointing = Cuda, SpikeGuard = new SpikeGuard(), Folder = Path.Combine(Folder, "run"),
        CheckpointEvery = Math.Max(1, Steps / 4), ReportEvery = (int)Math.Max(1, Steps / 10), EvaluationTokens = 32 * ContextLength,
    };
}
