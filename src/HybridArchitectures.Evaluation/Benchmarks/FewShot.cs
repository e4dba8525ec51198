using HybridArchitectures.Training.Data;

namespace HybridArchitectures.Evaluation.Benchmarks;

/// <summary>Selects solved questions that are placed before each question, such as questions of the training split.</summary>
/// <param name="Examples">The questions from which examples are drawn.</param>
/// <param name="Count">The number of examples per question, at least 0.</param>
/// <param name="Seed">The seed of the random choice. The default value is 1234.</param>
/// <remarks>
/// The format is that of lm-evaluation-harness: examples with their answers, two line breaks after each. The choice of examples differs from the
/// harness, which uses Python's random generator. It depends on the seed and the index of the question.
/// </remarks>
public sealed record FewShot(IReadOnlyList<ChoiceQuestion> Examples, int Count, long Seed = 1234)
{
    internal void Check()
    {
        Require.Items(Examples);
        Require.InRange(Count >= 0 && Count <= Math.Max(0, Examples.Count - 1), nameof(Count), Count,
            $"0 to {Math.Max(0, Examples.Count - 1)}, one less than the examples");
    }

    /// <summary>Returns the text before a question. The question itself is never among the examples.</summary>
    internal string Prefix(ChoiceQuestion question, int index)
    {
        if (Count == 0) return "";
        // one more is drawn, in case the question is among them
        var drawn = new SeededRandom(Seed, index).Sample(Math.Min(Count + 1, Examples.Count), Examples.Count)
            .Select(i => Examples[i].Solved).Where(text => text != question.Solved).Take(Count);
        return string.Concat(drawn.Select(text => text + "\n\n"));
    }
}
