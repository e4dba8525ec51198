namespace HybridArchitectures.Evaluation.LongContext;

/// <summary>Contains the options of <see cref="LongContextEvaluation"/>.</summary>
public sealed record LongContextOptions
{
    /// <summary>Gets or sets the maximum numbers of tokens of the prompts, including the begin-of-text token.</summary>
    public required IReadOnlyList<int> Lengths { get; init; }

    /// <summary>Gets or sets the relative positions of the needle, each from 0 (start) to 1 (end). The default value is 0, 0.1, ..., 1.</summary>
    public IReadOnlyList<double> Depths { get; init; } = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1];

    /// <summary>Gets or sets the number of prompts per length and depth. The default value is 10. arXiv 2510.04800 uses 100.</summary>
    public int Trials { get; init; } = 10;

    /// <summary>Gets or sets the number of prompts that are continued together. The default value is 4.</summary>
    public int BatchSize { get; init; } = 4;

    /// <summary>Gets or sets the seed of the prompts. The default value is 0.</summary>
    public long Seed { get; init; }

    /// <summary>
    /// Gets or sets the number of tokens of a row in training, which measures extrapolation. The default value, null, means unknown.
    /// </summary>
    public int? TrainingLength { get; init; }

    internal void Check()
    {
        Require.InRange(Lengths is { Count: > 0 }, $"{nameof(Lengths)}.Count", Lengths?.Count ?? 0, "at least 1 length");
        foreach (int length in Lengths!) Require.InRange(length > 0, nameof(Lengths), length, "at least 1 token");
        Require.InRange(Depths is { Count: > 0 } && Depths.All(depth => depth is >= 0 and <= 1), $"{nameof(Depths)}.Count", Depths?.Count ?? 0,
            "at least 1 depth, each 0 to 1");
        Require.AtLeast(Trials, 1);
        Require.AtLeast(BatchSize, 1);
        Require.InRange(TrainingLength is null or > 0, nameof(TrainingLength), TrainingLength, "at least 1 token, or null");
    }
}
