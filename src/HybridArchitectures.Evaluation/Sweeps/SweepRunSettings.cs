using HybridArchitectures.Design;

namespace HybridArchitectures.Evaluation.Sweeps;

/// <summary>Contains the settings of a run (<c>run.json</c>).</summary>
/// <param name="Name">The name of the design in the sweep.</param>
/// <param name="Seed">The seed of the run.</param>
/// <param name="Design">The design of the model.</param>
/// <param name="Options">The training options that affect the result, as text.</param>
/// <param name="LearningRate">The peak learning rate.</param>
/// <param name="ContextLength">The context length of training in tokens.</param>
/// <param name="Data">The description of the training data.</param>
/// <param name="HeldOut">The description of the held-out data, or null for none.</param>
/// <param name="Environment">The machine on which the run was started.</param>
/// <param name="Family">The family of the design for scaling fits. The default, null, means none.</param>
public sealed record SweepRunSettings(
    string Name, long Seed, HybridDesign Design, string Options, double LearningRate, int ContextLength, string Data, string? HeldOut,
        SweepEnvironment Environment, string? Family = null);
