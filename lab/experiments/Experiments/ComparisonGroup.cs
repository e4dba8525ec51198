namespace HybridArchitectures.Experiments;

/// <summary>Contains comparisons that answer one question. The report counts how many of their intervals exclude 0.</summary>
/// <param name="Title">The title of their table.</param>
/// <param name="Comparisons">The comparisons.</param>
sealed record ComparisonGroup(string Title, IReadOnlyList<Comparison> Comparisons);
