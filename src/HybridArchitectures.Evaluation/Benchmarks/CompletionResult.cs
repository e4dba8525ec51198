namespace HybridArchitectures.Evaluation;

/// <summary>How well a model predicts the ends of texts; standard errors are over items.</summary>
/// <param name="Accuracy">Share of items whose every token of the completion is the most probable one.</param>
/// <param name="Loss">Mean negative log-likelihood of a completion, in nats.</param>
public sealed record CompletionResult(Estimate Accuracy, Estimate Loss)
{
    /// <summary>Gets the perplexity of a completion: exp of <see cref="Loss"/>.</summary>
    public double Perplexity => Math.Exp(Loss.Value);
}
