namespace HybridArchitectures.Reports.Sweeps;

/// <summary>A design in a chart of quality against cost.</summary>
/// <param name="Name">The name of the design.</param>
/// <param name="Index">Its index, which decides its colour.</param>
/// <param name="Cost">What it costs.</param>
/// <param name="Quality">What it reaches, the mean over seeds.</param>
/// <param name="Error">The standard error of the quality; null where it has none.</param>
sealed record ScatterPoint(string Name, int Index, double Cost, double Quality, double? Error);
