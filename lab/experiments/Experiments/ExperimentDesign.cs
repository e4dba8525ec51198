using HybridArchitectures.Design;

namespace HybridArchitectures.Experiments;

/// <summary>Represents a design of an experiment.</summary>
/// <param name="Name">The name, which is the same in all experiments that have the design.</param>
/// <param name="Design">The design, with the parameters of the Mamba-2 stack of the same width.</param>
/// <param name="Class">The class of designs whose learning rate it uses; see <see cref="LearningRates"/>.</param>
/// <param name="Family">The family of the scaling fits, or null.</param>
sealed record ExperimentDesign(string Name, HybridDesign Design, string Class, string? Family = null);
