using HybridArchitectures.Evaluation.Statistics;
using HybridArchitectures.Training.Running;

namespace HybridArchitectures.Evaluation.Sweeps;

/// <summary>Contains the result of one branch of <see cref="DecayBranches"/>.</summary>
/// <param name="Steps">The number of steps, including those of the trunk.</param>
/// <param name="Result">The result of the run, which names the checkpoint.</param>
public sealed record DecayBranch(long Steps, TrainingResult Result)
{
    /// <summary>Gets the number of tokens and the final held-out loss as a point of a scaling fit, or null without held-out data.</summary>
    public ScalingPoint? Point => Result.Final is { } final ? new(Result.Tokens, final.Loss) : null;
}
