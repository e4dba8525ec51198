using HybridArchitectures.Evaluation.Statistics;

namespace HybridArchitectures.Evaluation.Benchmarks;

/// <summary>Contains the accuracy and loss of a completion task. Standard errors are over items.</summary>
/// <param name="Accuracy">The share of items for which every token of the completion is the most probable one.</param>
/// <param name="Loss">The mean negative log-likelihood of a completion, in nats.</param>
public sealed record CompletionResult(Estimate Accuracy, Estimate Loss)
{
    /// <summary>Gets the perplexity of a completion, exp(<see cref="Loss"/>).</summary>
    public double Perplexity => Math.Exp(Loss.Value);
}
