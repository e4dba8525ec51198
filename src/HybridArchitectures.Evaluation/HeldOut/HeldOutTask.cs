using HybridArchitectures.Evaluation.Tasks;
using HybridArchitectures.Models;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Running;

namespace HybridArchitectures.Evaluation.HeldOut;

/// <summary>
/// Measures the held-out loss in nats per token, and in bits per byte if the data records its bytes (<see cref="Evaluator"/>). The predicted tokens
/// depend only on the data and their number, so results of different models and context lengths are over the same tokens.
/// </summary>
/// <param name="data">The held-out tokens. The task does not dispose them.</param>
/// <param name="contextLength">The number of tokens per window.</param>
/// <param name="tokens">The number of tokens to predict. The default value, 0, means all.</param>
/// <param name="separateDocuments">True if a document cannot see the documents before it, as in training.</param>
public sealed class HeldOutTask(TokenDataset data, int contextLength, long tokens = 0, bool separateDocuments = false) : EvaluationTask
{
    /// <inheritdoc/>
    public override string Name => "held-out loss";

    /// <inheritdoc/>
    public override string? Settings =>
        $"{data.Description}; windows of {contextLength}, {tokens} tokens, separate documents {separateDocuments}";

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
