namespace HybridArchitectures.Evaluation.Recall;

/// <summary>Contains the six tasks of mechanistic architecture design (MAD, arXiv 2403.17844, appendix) with their published sizes.</summary>
public static class MadTasks
{
    /// <summary>Gets all six tasks: in-context recall, fuzzy and noisy recall, selective copying, compression and memorisation.</summary>
    public static IReadOnlyList<SyntheticTask> All { get; } =
        [new InContextRecall(), new FuzzyRecall(), InContextRecall.Noisy, new SelectiveCopying(), new Compression(), new Memorization()];
}
