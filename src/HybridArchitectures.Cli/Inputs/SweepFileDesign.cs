namespace HybridArchitectures.Cli.Inputs;

/// <summary>Represents a design in the file of a sweep.</summary>
/// <param name="Name">The name in tables.</param>
/// <param name="Design">The design as on the command line: a file, a folder, a recipe, or a pattern with sizes.</param>
/// <param name="LearningRate">The peak learning rate, or null for that of the sweep.</param>
/// <param name="Family">The family of designs of several sizes to which it belongs, for scaling fits.</param>
sealed record SweepFileDesign(string Name, string Design, double? LearningRate = null, string? Family = null);
