namespace HybridArchitectures.Reports.Sweeps;

/// <summary>Represents a design in a chart of quality against cost.</summary>
/// <param name="Name">The name of the design.</param>
/// <param name="Index">The index of the design, which decides its colour.</param>
/// <param name="Cost">The cost of the design.</param>
/// <param name="Quality">The quality of the design, the mean over seeds.</param>
/// <param name="Error">The standard error of the quality, or null if it has none.</param>
sealed record ScatterPoint(string Name, int Index, double Cost, double Quality, double? Error);
