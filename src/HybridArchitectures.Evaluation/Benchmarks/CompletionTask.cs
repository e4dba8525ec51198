using HybridArchitectures.Evaluation.Likelihood;
using HybridArchitectures.Evaluation.Statistics;
using HybridArchitectures.Evaluation.Tasks;
using HybridArchitectures.Models;
using HybridArchitectures.Tokenization;

namespace HybridArchitectures.Evaluation.Benchmarks;

/// <summary>
/// Measures the prediction of the ends of texts, like LAMBADA in lm-evaluation-harness. Accuracy is a greedy match of every token, and perplexity is
/// exp of the mean negative log-likelihood of a completion.
/// </summary>
public sealed class CompletionTask : EvaluationTask
{
    readonly IReadOnlyList<CompletionItem> items;
    readonly Tokenizer tokenizer;
    readonly ScoringOptions options;

    /// <summary>Creates a task.</summary>
    /// <param name="name">The name of the task, such as <c>lambada_openai</c>.</param>
    /// <param name="items">The items, at least one, such as <see cref="CompletionItem.ReadLambada"/> returns.</param>
    /// <param name="tokenizer">The tokenizer of the model.</param>
    /// <param name="options">The options for reading prompts, or null for the defaults.</param>
    public CompletionTask(string name, IReadOnlyList<CompletionItem> items, Tokenizer tokenizer, ScoringOptions? options = null)
    {
        Require.NotBlank(name);
        Require.Items(items);
        ArgumentNullException.ThrowIfNull(tokenizer);
        Require.InRange(items.Count > 0, $"{nameof(items)}.Count", items.Count, "at least 1 item");
        (Name, this.items, this.tokenizer, this.options) = (name, items, tokenizer, options ?? new());
    }

    /// <inheritdoc/>
    public override string Name { get; }

    /// <inheritdoc/>
    public override string? Settings => $"{items.Count} items; {options.Settings}";

    /// <summary>Measures a model.</summary>
    /// <param name="model">The model.</param>
    /// <param name="cancellation">Stops the measurement with an <see cref="OperationCanceledException"/>.</param>
    public CompletionResult Measure(HybridLanguageModel model, CancellationToken cancellation = default)
    {
        var scores = new ContinuationScorer(model, tokenizer, options).Score([.. items.Select(item => (item.Prompt, item.Completion))], cancellation);
        return new(Estimate.FromSamples(scores.Select(score => score.IsGreedy ? 1.0 : 0)),
            Estimate.FromSamples(scores.Select(score => -score.LogProbability)));
    }

    /// <inheritdoc/>
    public override TaskResult Run(HybridLanguageModel model, CancellationToken cancellation = default)
    {
        var result = Measure(model, cancellation);
        return new(Name, $"Greedy match and log-likelihood of the completions of {items.Count} texts, as in lm-evaluation-harness.",
            Metric.From("accuracy", result.Accuracy), Metric.From("loss", result.Loss, "nats per completion", higherIsBetter: false),
            new Metric("perplexity", result.Perplexity, result.Perplexity * result.Loss.StandardError, result.Loss.Count, "", HigherIsBetter: false));
    }
}
