using HybridArchitectures.Models;
using HybridArchitectures.Training;

namespace HybridArchitectures.Evaluation;

/// <summary>
/// Held-out loss in nats per token and, where the data knows its bytes, bits per byte (<see cref="Evaluator"/>). The predicted tokens depend on the
/// data and their number alone, so that results of different models and context lengths are over the same tokens.
/// </summary>
/// <param name="data">The held-out tokens; they stay the caller's.</param>
/// <param name="contextLength">Tokens per window.</param>
/// <param name="tokens">How many tokens to predict. The default value, 0, means all.</param>
/// <param name="separateDocuments">Whether documents are kept apart, as in training.</param>
public sealed class HeldOutTask(TokenDataset data, int contextLength, long tokens = 0, bool separateDocuments = false) : EvaluationTask
{
    /// <inheritdoc/>
    public override string Name => "held-out loss";

    /// <inheritdoc/>
    public override TaskResult Run(HybridLanguageModel model, CancellationToken cancellation = default)
    {
        var result = Evaluator.Evaluate(model, data, contextLength, tokens: tokens, separateDocuments: separateDocuments, cancellation: cancellation);
        List<Metric> metrics = [new("loss", result.Loss, result.StandardError, result.Tokens, "nats per token", HigherIsBetter: false)];
        if (result.BitsPerByte is { } bits)
            metrics.Add(new("bits per byte", bits, result.BitsPerByteStandardError, result.Tokens, "bits per byte", HigherIsBetter: false));
        return new(Name, $"Mean cross entropy over {result.Tokens} held-out tokens in windows of {contextLength}.", metrics);
    }
}
