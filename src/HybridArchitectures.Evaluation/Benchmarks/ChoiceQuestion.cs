namespace HybridArchitectures.Evaluation.Benchmarks;

/// <summary>Represents a question with several answers, one of which is correct.</summary>
/// <param name="Options">The answers, at least two.</param>
/// <param name="Answer">The index of the correct answer.</param>
public sealed record ChoiceQuestion(IReadOnlyList<ChoiceOption> Options, int Answer)
{
    /// <summary>Creates a question whose answers follow one prompt after a space.</summary>
    /// <param name="prompt">The text before the answers.</param>
    /// <param name="choices">The answers, at least two.</param>
    /// <param name="answer">The index of the correct answer.</param>
    /// <exception cref="ArgumentException">There are fewer than two answers, one is empty, or the index is out of range.</exception>
    public static ChoiceQuestion FromChoices(string prompt, IReadOnlyList<string> choices, int answer)
    {
        ArgumentNullException.ThrowIfNull(prompt);
        Require.Items(choices);
        Require.InRange(choices.Count >= 2, $"{nameof(choices)}.Count", choices.Count, "at least 2 answers");
        if (choices.Any(choice => choice.Length == 0)) throw Require.Unfit(nameof(choices), "choices holds an empty answer", "texts");
        Require.InRange(answer >= 0 && answer < choices.Count, nameof(answer), answer, $"0 to {choices.Count - 1}");
        return new([.. choices.Select(choice => new ChoiceOption(prompt, " " + choice, choice))], answer);
    }

    /// <summary>Gets the question with its correct answer, as an example before other questions.</summary>
    internal string Solved => Options[Answer].Prompt + Options[Answer].Continuation;
}
