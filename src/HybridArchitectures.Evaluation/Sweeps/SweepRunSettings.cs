using HybridArchitectures.Design;

namespace HybridArchitectures.Evaluation;

/// <summary>What a run of a sweep was made from: <c>run.json</c>.</summary>
/// <param name="Name">The design's name in the sweep.</param>
/// <param name="Seed">The seed.</param>
/// <param name="Design">The design.</param>
/// <param name="Options">The training options, written out.</param>
/// <param name="LearningRate">The peak learning rate.</param>
/// <param name="ContextLength">Tokens of a training row.</param>
/// <param name="Data">What identifies the training data.</param>
/// <param name="HeldOut">What identifies the held-out data; null for none.</param>
/// <param name="Environment">Where it was started.</param>
/// <param name="Family">The family of the design for scaling fits. The default, null, means none.</param>
public sealed record SweepRunSettings(
    string Name, long Seed, HybridDesign Design, string Options, double LearningRate, int ContextLength, string Data, string? HeldOut,
        SweepEnvironment Environment, string? Family = null);
