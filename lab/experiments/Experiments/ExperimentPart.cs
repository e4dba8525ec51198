namespace HybridArchitectures.Experiments;

/// <summary>Represents designs that are trained with the same options.</summary>
/// <param name="Designs">The designs.</param>
/// <param name="Measured">The tasks that measure every trained model.</param>
sealed record ExperimentPart(IReadOnlyList<ExperimentDesign> Designs, PartTasks Measured = PartTasks.None)
{
    /// <summary>Gets whether the models are trained on the recall task instead of on text.</summary>
    public bool IsRecall { get; init; }

    /// <summary>Gets whether Muon updates the matrices.</summary>
    public bool IsMuon { get; init; }

    /// <summary>Gets the ratio of the context length to that of the study. The number of tokens per step stays the same.</summary>
    public double Context { get; init; } = 1;

    /// <summary>
    /// Gets the ratio of the number of steps to that of the study, a power of two. The default is 1. The warm-up has the same number of steps for
    /// all. Parts above 1 are branches of the longest one; see <see cref="ExperimentRunner"/>.
    /// </summary>
    public int Tokens { get; init; } = 1;

    /// <summary>Gets the ratio of the learning rate to that of the class and width. The default is 1.</summary>
    public double Rate { get; init; } = 1;

    /// <summary>Gets whether the part runs after all seeds of the other parts. The default is false.</summary>
    public bool IsLast { get; init; }

    /// <summary>Returns the name of a design in this part.</summary>
    public string NameOf(ExperimentDesign design) => design.Name + Suffix;

    /// <summary>Returns the part with the designs of some names; null means all.</summary>
    public ExperimentPart Only(IReadOnlyCollection<string>? names)
    {
        if (names is null) return this;
        int[] chosen = [.. Enumerable.Range(0, Designs.Count).Where(index => names.Contains(NameOf(Designs[index])))];
        return this with
        {
            Designs = [.. chosen.Select(index => Designs[index])], Rates = Rates is { } rates ? [.. chosen.Select(index => rates[index])] : null,
        };
    }

    /// <summary>Gets what distinguishes the names of the part from those of other parts, such as <c>, Muon</c>.</summary>
    string Suffix => this switch
    {
        { IsRecall: true } => ", recall",
        { IsMuon: true } => ", Muon",
        { Tokens: > 1 } => FormattableString.Invariant($", tokens x {Tokens}"),
        { Rate: not 1 } => FormattableString.Invariant($", rate x {Rate:0.##}"),
        { Context: not 1 } => FormattableString.Invariant($", context x {Context:0.#}"),
        _ => "",
    };

    /// <summary>Gets the learning rates of the designs, or null to use those of their classes.</summary>
    public IReadOnlyList<double>? Rates { get; init; }
}
