
namespace HybridArchitectures.Design;

/// <summary>
/// Represents a model of arXiv 2510.04800, "Hybrid Architectures for Language Models: Systematic Analysis and Design Insights", as this library
/// builds it.
/// </summary>
/// <param name="Name">
/// Size, family, ratio (attention or intra-layer hybrid blocks to the others) and variant, for example <c>1B-inter-1:5</c>.
/// </param>
/// <param name="Size">The size class in the paper: 100M, 350M, 1B or 3B.</param>
/// <param name="Design">The design of the model.</param>
/// <param name="Training">The training settings of the paper.</param>
/// <param name="Printed">The parameter counts that the paper prints for the model. Empty if there are none.</param>
/// <param name="Notes">The details that the paper leaves open, with the choice and its reason. Empty if there are none.</param>
public sealed record Recipe(string Name, string Size, HybridDesign Design, RecipeTraining Training, EquatableList<PrintedCount> Printed,
    string Notes);
