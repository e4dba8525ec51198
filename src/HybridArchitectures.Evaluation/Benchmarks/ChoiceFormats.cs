using System.Text.RegularExpressions;

namespace HybridArchitectures.Evaluation.Benchmarks;

/// <summary>
/// Contains multiple-choice benchmarks with the prompt forms of lm-evaluation-harness (EleutherAI) and the columns of their Hugging Face files. Each
/// answer follows its prompt after one space.
/// </summary>
public static partial class ChoiceFormats
{
    const string Accuracy = "accuracy", ByCharacters = "accuracy by characters", Harness = "prompt form of lm-evaluation-harness";

    /// <summary>Gets HellaSwag (arXiv 1905.07830, <c>Rowan/hellaswag</c>): columns activity_label, ctx_a, ctx_b, endings, label.</summary>
    public static ChoiceFormat HellaSwag { get; } = new("hellaswag", $"arXiv 1905.07830, {Harness}", ByCharacters, record =>
    {
        string context = record.Text("ctx_a") + " " + Capitalized(record.Text("ctx_b"));
        return ChoiceQuestion.FromChoices(
            WithoutMarks(record.Text("activity_label") + ": " + context), [.. record.Texts("endings").Select(WithoutMarks)],
                Label(record, "label", record.Texts("endings").Count));
    });

    /// <summary>Gets PIQA (arXiv 1911.11641, <c>ybisk/piqa</c>): columns goal, sol1, sol2, label.</summary>
    public static ChoiceFormat Piqa { get; } = new("piqa", $"arXiv 1911.11641, {Harness}", Accuracy, record =>
        ChoiceQuestion.FromChoices($"Question: {record.Text("goal")}\nAnswer:", [record.Text("sol1"), record.Text("sol2")],
            Label(record, "label", 2)));

    /// <summary>Gets ARC-Easy (arXiv 1803.05457, <c>allenai/ai2_arc</c>): columns question, choices (text, label), answerKey.</summary>
    public static ChoiceFormat ArcEasy { get; } = Arc("arc_easy", Accuracy);

    /// <summary>Gets ARC-Challenge, in the columns of <see cref="ArcEasy"/>.</summary>
    public static ChoiceFormat ArcChallenge { get; } = Arc("arc_challenge", ByCharacters);

    /// <summary>Gets OpenBookQA (arXiv 1809.02789, <c>allenai/openbookqa</c>): columns question_stem, choices (text, label), answerKey.</summary>
    public static ChoiceFormat OpenBookQa { get; } = new("openbookqa", $"arXiv 1809.02789, {Harness}", ByCharacters, record =>
        ChoiceQuestion.FromChoices(record.Text("question_stem"), record.Record("choices").Texts("text"), Key(record)));

    /// <summary>
    /// Gets WinoGrande (arXiv 1907.10641, <c>allenai/winogrande</c>): columns sentence, option1, option2, answer. The prompts differ and the
    /// continuation is the same. It is the text after the gap, given each filling (partial scoring, arXiv 1806.02847).
    /// </summary>
    public static ChoiceFormat WinoGrande { get; } = new("winogrande", $"arXiv 1907.10641, {Harness}", Accuracy, record =>
    {
        string sentence = record.Text("sentence");
        int gap = sentence.IndexOf('_', StringComparison.Ordinal);
        if (gap < 0) throw record.Unfit("sentence", "a sentence with a gap '_'");
        string rest = " " + sentence[(gap + 1)..].Trim();
        string[] fillings = [record.Text("option1"), record.Text("option2")];
        int answer = record.Integer("answer");
        if (answer is not (1 or 2)) throw record.Unfit("answer", "1 or 2");
        return new([.. fillings.Select(filling => new ChoiceOption(sentence[..gap] + filling, rest, sentence[..gap] + filling))], answer - 1);
    });

    /// <summary>Gets BoolQ (arXiv 1905.10044, <c>google/boolq</c> or SuperGLUE): columns passage, question, and answer (truth value) or label (1 is
    /// yes).</summary>
    public static ChoiceFormat BoolQ { get; } = new("boolq", $"arXiv 1905.10044, {Harness}", Accuracy, record =>
    {
        int label = record.Has("label") ? Label(record, "label", 2) : string.Equals(record.Text("answer"), "true",
            StringComparison.OrdinalIgnoreCase) ? 1 : 0;
        return ChoiceQuestion.FromChoices($"{record.Text("passage")}\nQuestion: {record.Text("question")}?\nAnswer:", ["no", "yes"], label);
    });

    /// <summary>Gets Social IQa (arXiv 1904.09728, <c>allenai/social_i_qa</c>): columns context, question, answerA, answerB, answerC, label (1 to
    /// 3).</summary>
    public static ChoiceFormat SocialIqa { get; } = new("social_iqa", $"arXiv 1904.09728, {Harness}", Accuracy, record =>
    {
        int label = record.Integer("label");
        if (label is < 1 or > 3) throw record.Unfit("label", "1 to 3");
        string[] answers = [record.Text("answerA"), record.Text("answerB"), record.Text("answerC")];
        return ChoiceQuestion.FromChoices($"Q: {record.Text("context")} {record.Text("question")}\nA:", answers, label - 1);
    });

    /// <summary>Gets a format for custom questions: prompt (text), choices (list of texts), answer (index from 0).</summary>
    public static ChoiceFormat Generic { get; } = new("choices", "records of the user", Accuracy, record =>
        ChoiceQuestion.FromChoices(record.Text("prompt"), record.Texts("choices"), Label(record, "answer", record.Texts("choices").Count)));

    /// <summary>Gets all built-in formats.</summary>
    public static IReadOnlyList<ChoiceFormat> All { get; } =
        [HellaSwag, Piqa, ArcEasy, ArcChallenge, OpenBookQa, WinoGrande, BoolQ, SocialIqa, Generic];

    static ChoiceFormat Arc(string name, string metric) => new(name, $"arXiv 1803.05457, {Harness}", metric, record =>
        ChoiceQuestion.FromChoices($"Question: {record.Text("question")}\nAnswer:", record.Record("choices").Texts("text"), Key(record)));

    static int Label(BenchmarkRecord record, string name, int count)
    {
        int label = record.Integer(name);
        return label >= 0 && label < count ? label : throw record.Unfit(name, $"0 to {count - 1}");
    }

    static int Key(BenchmarkRecord record)
    {
        string key = record.Text("answerKey").TrimStart();
        var labels = record.Record("choices").Texts("label");
        for (int i = 0; i < labels.Count; i++)
            if (labels[i] == key) return i;
        throw record.Unfit("answerKey", $"one of {string.Join(", ", labels)}");
    }

    // as Python's str.capitalize: the first letter upper case, all others lower case
    static string Capitalized(string text) => text.Length == 0 ? text : char.ToUpperInvariant(text[0]) + text[1..].ToLowerInvariant();

    static string WithoutMarks(string text) =>
        Brackets().Replace(text.Trim().Replace(" [title]", ". ", StringComparison.Ordinal), "").Replace("  ", " ", StringComparison.Ordinal);

    [GeneratedRegex(@"\[.*?\]")]
    private static partial Regex Brackets();
}
