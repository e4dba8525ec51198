namespace HybridArchitectures.Cli;

/// <summary>A design of a sweep's file.</summary>
/// <param name="Name">What tables call it.</param>
/// <param name="Design">As on the command line: a file, a folder, a recipe or a pattern with sizes.</param>
/// <param name="LearningRate">Its peak rate; that of the sweep if left out.</param>
/// <param name="Family">The family of designs of several sizes to which it belongs, for scaling fits.</param>
sealed record SweepFileDesign(string Name, string Design, double? LearningRate = null, string? Family = null);
