using HybridArchitectures.Evaluation.Statistics;
using HybridArchitectures.Evaluation.Tasks;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Training.Data;
using static TorchSharp.torch;

namespace HybridArchitectures.Evaluation.HeldOut;

/// <summary>
/// Measures the held-out loss by document. Each document is read alone, from its first token, in windows of the context length. The first token of
/// each window has no token before it and is not predicted.
/// </summary>
public sealed class DocumentLossTask : EvaluationTask
{
    readonly TokenDataset data;
    readonly int contextLength;
    readonly int[] documents;

    /// <summary>Creates a task.</summary>
    /// <param name="data">The held-out tokens. The task does not dispose them.</param>
    /// <param name="contextLength">The maximum number of tokens per window, at least 1.</param>
    /// <param name="maxDocuments">The maximum number of documents, spread evenly over the data. The default value, 0, means all.</param>
    /// <exception cref="ArgumentException">No document has two tokens.</exception>
    public DocumentLossTask(TokenDataset data, int contextLength, int maxDocuments = 0)
    {
        ArgumentNullException.ThrowIfNull(data);
        Require.InRange(contextLength >= 1, nameof(contextLength), contextLength, "at least 1 token");
        Require.InRange(maxDocuments >= 0, nameof(maxDocuments), maxDocuments, "at least 0 documents");
        (this.data, this.contextLength) = (data, contextLength);
        int[] all = [.. Enumerable.Range(0, data.DocumentStarts.Count).Where(document => Length(document) >= 2)];
        if (all.Length == 0) throw Require.Unfit(nameof(data), "data has no document of 2 tokens", "at least 1");
        int count = maxDocuments == 0 ? all.Length : Math.Min(maxDocuments, all.Length);
        documents = [.. Enumerable.Range(0, count).Select(i => all[(int)((long)i * all.Length / count)])];
    }

    /// <inheritdoc/>
    public override string Name => "loss by document";

    /// <inheritdoc/>
    public override string? Settings =>
        $"{data.Description}; windows of {contextLength}, {documents.Length} documents";

    long Length(int document) => (document + 1 < data.DocumentStarts.Count ? data.DocumentStarts[document + 1]
        : data.Count) - data.DocumentStarts[document];

    /// <summary>Measures a model.</summary>
    /// <param name="model">The model.</param>
    /// <param name="cancellation">Stops the measurement with an <see cref="OperationCanceledException"/>.</param>
    /// <returns>One entry per document, in the order of the data.</returns>
    public IReadOnlyList<DocumentLoss> Measure(HybridLanguageModel model, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        using var mode = new EvaluationModeScope(model);
        var losses = new List<DocumentLoss>();
        foreach (int document in documents)
        {
            cancellation.ThrowIfCancellationRequested();
            losses.Add(Measure(model, document));
        }
        return losses;
    }

    DocumentLoss Measure(HybridLanguageModel model, int document)
    {
        long start = data.DocumentStarts[document], left = Length(document), tokens = 0, bytes = 0;
        double nats = 0;
        while (left >= 2)
        {
            using var scope = NewDisposeScope();
            var window = new long[Math.Min(left, contextLength + 1)];
            data.CopyTo(start, window);
            Tensor ToRow(long[] values) => tensor(values, [1, values.Length], device: model.Device);
            nats += TensorMemory.ToArray<float>(model.TokenLosses(ToRow(window[..^1]), ToRow(window[1..])).cpu().contiguous())
                .Sum(value => (double)value);
            tokens += window.Length - 1;
            if (data.KnowsBytes) bytes += data.CountBytes(window.AsSpan(1));
            start += window.Length;
            left -= window.Length;
        }
        return new(document, tokens, nats / tokens, bytes == 0 ? null : nats / Math.Log(2) / bytes);
    }

    /// <inheritdoc/>
    public override TaskResult Run(HybridLanguageModel model, CancellationToken cancellation = default)
    {
        var losses = Measure(model, cancellation);
        List<Metric> metrics =
        [
            Metric.From("loss", Estimate.FromRatio(losses.Select(loss => (loss.Loss * loss.Tokens, (double)loss.Tokens))), "nats per token",
                higherIsBetter: false),
            Metric.From("mean of documents", Estimate.FromSamples(losses.Select(loss => loss.Loss)), "nats per token", higherIsBetter: false),
        ];
        return new(Name, $"Mean cross entropy over {losses.Count} documents, each read alone in windows of {contextLength} tokens.", metrics);
    }
}
