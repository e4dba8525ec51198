namespace HybridArchitectures.Evaluation;

/// <summary>Where and how often a long-context task is measured.</summary>
public sealed record LongContextOptions
{
    /// <summary>Gets the largest numbers of tokens of prompts, the begin-of-text token included.</summary>
    public required IReadOnlyList<int> Lengths { get; init; }

    /// <summary>Gets where the needle stands, each 0 (start) to 1 (end). The default value is 0, 0.1, ..., 1.</summary>
    public IReadOnlyList<double> Depths { get; init; } = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1];

    /// <summary>Gets the number of prompts per length and depth. The default value is 10; arXiv 2510.04800 takes 100.</summary>
    public int Trials { get; init; } = 10;

    /// <summary>Gets the number of prompts that are continued together. The default value is 4.</summary>
    public int BatchSize { get; init; } = 4;

    /// <summary>Gets the seed of the prompts. The default value is 0.</summary>
    public long Seed { get; init; }

    /// <summary>Gets the tokens of a row in training, to say how far a model extrapolates; null if unknown.</summary>
    public int? TrainingLength { get; init; }

    internal void Check()
    {
        Refuse.Unless(Lengths is { Count: > 0 } && Lengths.All(length => length > 0), Lengths?.Count ?? 0, nameof(Lengths),
            "at least 1 length, each at least 1 token");
        Refuse.Unless(Depths is { Count: > 0 } && Depths.All(depth => depth is >= 0 and <= 1), Depths?.Count ?? 0, nameof(Depths),
            "at least 1 depth, each 0 to 1");
        Refuse.Unless(Trials >= 1, Trials, nameof(Trials), "at least 1");
        Refuse.Unless(BatchSize >= 1, BatchSize, nameof(BatchSize), "at least 1");
        Refuse.Unless(TrainingLength is null or > 0, TrainingLength, nameof(TrainingLength), "at least 1 token, or null");
    }
}
