namespace HybridArchitectures.Evaluation.Inside;

/// <summary>Contains the settings of <see cref="InsideTask"/>.</summary>
public sealed record InsideOptions
{
    /// <summary>Gets or sets the maximum number of tokens of each prompt. The default is 1,024.</summary>
    public int Length { get; init; } = 1024;

    /// <summary>Gets or sets the depths of the needle, each 0 (start) to 1 (end). The default is 0.1, 0.5 and 0.9.</summary>
    public IReadOnlyList<double> Depths { get; init; } = [0.1, 0.5, 0.9];

    /// <summary>Gets or sets the number of prompts per depth. The default is 4.</summary>
    public int Trials { get; init; } = 4;

    /// <summary>Gets or sets the seed of the prompts. The default is 0.</summary>
    public long Seed { get; init; }

    /// <summary>Gets or sets the settings of the measurement.</summary>
    public InspectionOptions Inspection { get; init; } = new();

    internal void Check()
    {
        Require.InRange(Length >= 2, nameof(Length), Length, "at least 2 tokens");
        Require.InRange(Depths is { Count: > 0 } && Depths.All(depth => depth is >= 0 and <= 1), $"{nameof(Depths)}.Count", Depths?.Count ?? 0,
            "at least 1 depth, each 0 to 1");
        Require.AtLeast(Trials, 1);
        ArgumentNullException.ThrowIfNull(Inspection);
        Inspection.Check();
    }
}
