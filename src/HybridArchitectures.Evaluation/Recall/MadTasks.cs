namespace HybridArchitectures.Evaluation;

/// <summary>The six tasks of mechanistic architecture design (MAD, arXiv 2403.17844, appendix) with their published baseline sizes.</summary>
public static class MadTasks
{
    /// <summary>Gets the tasks: in-context recall, fuzzy, noisy, selective copying, compression and memorisation.</summary>
    public static IReadOnlyList<SyntheticTask> All { get; } =
        [new InContextRecall(), new FuzzyRecall(), InContextRecall.Noisy, new SelectiveCopying(), new Compression(), new Memorization()];
}
