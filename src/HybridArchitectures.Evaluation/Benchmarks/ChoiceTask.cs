using System.Text;
using HybridArchitectures.Evaluation.Likelihood;
using HybridArchitectures.Evaluation.Statistics;
using HybridArchitectures.Evaluation.Tasks;
using HybridArchitectures.Models;
using HybridArchitectures.Tokenization;

namespace HybridArchitectures.Evaluation.Benchmarks;

/// <summary>
/// Measures multiple choice by log-likelihood, like lm-evaluation-harness. The model generates nothing: each answer is scored after its prompt
/// (<see cref="ContinuationScorer"/>), and the most probable answer is the choice.
/// </summary>
public sealed class ChoiceTask : EvaluationTask
{
    readonly ChoiceFormat format;
    readonly IReadOnlyList<ChoiceQuestion> questions;
    readonly Tokenizer tokenizer;
    readonly FewShot? fewShot;
    readonly ScoringOptions options;

    /// <summary>Creates a task.</summary>
    /// <param name="format">The format, which defines the name and the main metric.</param>
    /// <param name="questions">The questions, at least one, such as <see cref="ChoiceFormat.Read"/> returns.</param>
    /// <param name="tokenizer">The tokenizer of the model.</param>
    /// <param name="fewShot">The solved examples before each question, or null for none.</param>
    /// <param name="options">The options for reading prompts, or null for the defaults.</param>
    /// <exception cref="ArgumentException">There are no questions, or too few examples.</exception>
    public ChoiceTask(ChoiceFormat format, IReadOnlyList<ChoiceQuestion> questions, Tokenizer tokenizer, FewShot? fewShot = null,
        ScoringOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(format);
        Require.Items(questions);
        ArgumentNullException.ThrowIfNull(tokenizer);
        Require.InRange(questions.Count > 0, $"{nameof(questions)}.Count", questions.Count, "at least 1 question");
        fewShot?.Check();
        (this.format, this.questions, this.tokenizer, this.fewShot, this.options) = (format, questions, tokenizer, fewShot, options ?? new());
    }

    /// <inheritdoc/>
    public override string Name => format.Name;

    /// <inheritdoc/>
    public override string? Settings =>
        $"{questions.Count} questions, {fewShot?.Count ?? 0} examples of seed {fewShot?.Seed}; {options.Settings}";

    /// <summary>Measures a model on all questions.</summary>
    /// <param name="model">The model.</param>
    /// <param name="cancellation">Stops the measurement with an <see cref="OperationCanceledException"/>.</param>
    public ChoiceResult Measure(HybridLanguageModel model, CancellationToken cancellation = default)
    {
        var scorer = new ContinuationScorer(model, tokenizer, options);
        var requests = questions.SelectMany((question, index) =>
        {
            string prefix = fewShot?.Prefix(question, index) ?? "";
            return question.Options.Select(option => (prefix + option.Prompt, option.Continuation));
        }).ToArray();
        var scores = scorer.Score(requests, cancellation);
        var outcomes = new List<ChoiceOutcome>();
        int at = 0;
        foreach (var question in questions)
        {
            var logs = Enumerable.Range(at, question.Options.Count).Select(i => scores[i].LogProbability).ToArray();
            at += logs.Length;
            outcomes.Add(Decide(question, logs));
        }
        Estimate Share(Func<ChoiceOutcome, int> chosen) => Estimate.FromSamples(outcomes.Select(outcome => chosen(outcome) == outcome.Answer ? 1.0
            : 0));
        return new(Share(outcome => outcome.Chosen), Share(outcome => outcome.ChosenByCharacters), Share(outcome => outcome.ChosenByBytes), outcomes);
    }

    internal static ChoiceOutcome Decide(ChoiceQuestion question, double[] logs)
    {
        int Best(Func<string, double> length)
        {
            int best = 0;
            double highest = double.NegativeInfinity;
            for (int i = 0; i < logs.Length; i++)
            {
                double value = logs[i] / length(question.Options[i].LengthText);
                if (value > highest) (best, highest) = (i, value);
            }
            return best;
        }
        return new(logs, Best(_ => 1), Best(text => text.EnumerateRunes().Count()), Best(text => Encoding.UTF8.GetByteCount(text)), question.Answer);
    }

    /// <inheritdoc/>
    public override TaskResult Run(HybridLanguageModel model, CancellationToken cancellation = default)
    {
        var result = Measure(model, cancellation);
        Metric[] metrics =
        [
            Metric.From("accuracy", result.Accuracy), Metric.From("accuracy by characters", result.AccuracyByCharacters),
                Metric.From("accuracy by bytes", result.AccuracyByBytes),
        ];
        string shots = fewShot is null ? "0 examples" : $"{fewShot.Count} examples of seed {fewShot.Seed}";
        return new(Name, $"Multiple choice by log-likelihood over {questions.Count} questions with {shots}; {format.Source}.",
            [.. metrics.OrderBy(metric => metric.Name == format.MainMetric ? 0 : 1)]);
    }
}
