namespace HybridArchitectures.Experiments;

/// <summary>Represents an experiment.</summary>
/// <param name="Name">The name on the command line.</param>
/// <param name="Title">The title of its section.</param>
/// <param name="Question">One or two sentences on what it compares.</param>
/// <param name="Baseline">The name of the design with which the others are compared.</param>
/// <param name="Parts">The parts, in the order in which they run.</param>
sealed record Experiment(string Name, string Title, string Question, string Baseline, IReadOnlyList<ExperimentPart> Parts)
{
    /// <summary>Gets the comparisons in addition to those with the baseline.</summary>
    public IReadOnlyList<ComparisonGroup> Comparisons { get; init; } = [];

    /// <summary>Gets the number of seeds: the first ones of the study. The default, null, means all.</summary>
    public int? Seeds { get; init; }

    /// <summary>Returns the seeds of the runs.</summary>
    /// <param name="size">The sizes.</param>
    public IReadOnlyList<long> SeedsOf(StudySize size) => [.. size.Seeds.Take(Seeds ?? size.Seeds.Count)];

    /// <summary>Gets the names of all runs.</summary>
    public IReadOnlyList<string> Names { get; } = [.. Parts.SelectMany(part => part.Designs.Select(part.NameOf))];
}
