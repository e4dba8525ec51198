namespace HybridArchitectures.Evaluation.Sweeps;

/// <summary>Contains the options of <see cref="DecayBranches"/>.</summary>
public sealed record DecayBranchOptions
{
    /// <summary>Gets or sets the folder of the trunk and the branches.</summary>
    public required string Folder { get; init; }

    /// <summary>Gets or sets the number of steps of each branch in rising order, such as 100, 200 and 400.</summary>
    public required IReadOnlyList<long> Steps { get; init; }

    /// <summary>
    /// Gets or sets the number of steps in which the learning rate rises to its peak, before the first branch. The default value is 0.
    /// </summary>
    public long WarmUpSteps { get; init; }

    /// <summary>Gets or sets the share of the steps of a branch in which the learning rate falls to 0, in (0, 1). The default value is 0.2.</summary>
    public double DecayShare { get; init; } = 0.2;

    internal long Start(long steps) => Math.Max(1, steps - Math.Max(1, (long)Math.Round(DecayShare * steps)));

    internal void Check()
    {
        Require.NotBlank(Folder);
        Require.InRange(Steps is { Count: > 0 } && Steps[0] >= 2, $"{nameof(Steps)}.Count", Steps?.Count ?? 0,
            "at least 1 number of steps, each at least 2");
        for (int i = 1; i < Steps!.Count; i++) Require.InRange(Steps[i] > Steps[i - 1], nameof(Steps), Steps[i], $"more than {Steps[i - 1]}, rising");
        Require.InRange(DecayShare is > 0 and < 1, nameof(DecayShare), DecayShare, "a share in (0, 1)");
        Require.InRange(WarmUpSteps >= 0 && WarmUpSteps <= Start(Steps[0]), nameof(WarmUpSteps), WarmUpSteps,
            $"0 to {Start(Steps[0])}, where the first branch begins");
    }
}
