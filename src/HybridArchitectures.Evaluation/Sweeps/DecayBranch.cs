using HybridArchitectures.Training;

namespace HybridArchitectures.Evaluation;

/// <summary>A decayed model.</summary>
/// <param name="Steps">The steps of its run, those of the trunk included.</param>
/// <param name="Result">How its run went; the checkpoint is there.</param>
public sealed record DecayBranch(long Steps, TrainingResult Result)
{
    /// <summary>Gets the point for a scaling fit: tokens and final held-out loss; null without held-out data.</summary>
    public ScalingPoint? Point => Result.Final is { } final ? new(Result.Tokens, final.Loss) : null;
}
