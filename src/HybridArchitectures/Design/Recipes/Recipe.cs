namespace HybridArchitectures.Design;

/// <summary>A model of arXiv 2510.04800, "Hybrid Architectures for Language Models: Systematic Analysis and Design Insights", as this library builds it.</summary>
/// <param name="Name">Size, family, ratio (attention or intra-layer hybrid blocks to the others) and variant, such as <c>1B-inter-1:5</c>.</param>
/// <param name="Size">The paper's size class: 100M, 350M, 1B or 3B.</param>
/// <param name="Design">The model.</param>
/// <param name="Training">How the paper trained it.</param>
/// <param name="Printed">The counts of parameters that the paper prints for it; empty if it prints none.</param>
/// <param name="Notes">What the paper leaves open, what was chosen, and why; empty if nothing is.</param>
public sealed record Recipe(string Name, string Size, HybridDesign Design, RecipeTraining Training, EquatableList<PrintedCount> Printed, string Notes);
