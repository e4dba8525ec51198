using System.Diagnostics;
using HybridArchitectures.Cost;
using HybridArchitectures.Evaluation.Tasks;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using HybridArchitectures.Training.Data;
using static TorchSharp.torch;

namespace HybridArchitectures.Evaluation.Inference;

/// <summary>
/// Measures inference like arXiv 2510.04800, table 13: prompts of random tokens are read, and each row is continued greedily to a total length.
/// Every step ends with its tokens in main memory, so the device has finished. A short continuation before the first measurement is not timed.
/// </summary>
/// <param name="options">The batch sizes and lengths, or null for the defaults.</param>
public sealed class InferenceCostTask(InferenceCostOptions? options = null) : EvaluationTask
{
    readonly InferenceCostOptions options = options ?? new();

    /// <inheritdoc/>
    public override string Name => "inference cost";

    /// <summary>Measures a model.</summary>
    /// <param name="model">The model.</param>
    /// <param name="cancellation">Stops the measurement with an <see cref="OperationCanceledException"/>.</param>
    /// <returns>One row per batch size and total length.</returns>
    public IReadOnlyList<InferenceCostRow> Measure(HybridLanguageModel model, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        options.Check();
        using var mode = new EvaluationModeScope(model);
        Measure(model, options.BatchSizes[0], Math.Min(options.PromptLength, 16), Math.Min(options.PromptLength, 16) + 4, cancellation);
        return [.. options.BatchSizes.SelectMany(batch => options.TotalLengths.Select(total =>
            Measure(model, batch, options.PromptLength, total, cancellation)))];
    }

    InferenceCostRow Measure(HybridLanguageModel model, int batch, int prompt, int total, CancellationToken cancellation)
    {
        using var scope = NewDisposeScope();
        var memory = PeakMemory.Start(model.Device);
        using var cache = model.CreateCache(batch);
        var random = new SeededRandom(options.Seed);
        var ids = tensor(Enumerable.Range(0, batch * prompt).Select(_ => (long)random.Next(model.VocabularySize)).ToArray(), [batch, prompt],
            device: model.Device);
        var clock = Stopwatch.StartNew();
        var next = Step(model, cache, ids);
        var first = clock.Elapsed;
        int written = 1, skipped = options.TimedSteps is { } timed ? Math.Max(0, total - prompt - 1 - timed) : 0;
        if (skipped > 0)
        {
            var filler = tensor(Enumerable.Range(0, batch * skipped).Select(_ => (long)random.Next(model.VocabularySize)).ToArray(), [batch, skipped],
                device: model.Device);
            next = Step(model, cache, filler);
            written += skipped;
        }
        clock.Restart();
        int steps = 0;
        for (; prompt + written < total; written++, steps++)
        {
            cancellation.ThrowIfCancellationRequested();
            next = Step(model, cache, tensor(next, [batch, 1], device: model.Device));
        }
        var decoding = clock.Elapsed;
        long? peak = memory.Stop();
        cache.Trim();
        long length = cache.Lengths[0], predicted = CacheSize.FromDesign(model.Design, length, batch, ElementSize(model.ComputeType)).Total;
        return new InferenceCostRow(batch, prompt, total, first, (double)batch * prompt / first.TotalSeconds,
            steps == 0 ? 0 : (double)batch * steps / decoding.TotalSeconds, cache.Bytes, predicted, peak,
            predicted + PrefillBytes(model, batch, prompt + skipped));
    }

    // the memory that a prompt needs in addition to the cache
    static long PrefillBytes(HybridLanguageModel model, long batch, long prompt)
    {
        int size = ElementSize(model.ComputeType);
        var activations = new SavedActivations(new(size, prompt, batch, null));
        double largest = model.Design.Blocks.Max(block => activations.Bytes(model.Design, block));
        return (long)(2.0 * batch * prompt * model.Design.Width * size + largest + 4.0 * batch * model.VocabularySize);
    }

    static int ElementSize(ScalarType type) => type switch
    {
        ScalarType.Float64 => 8,
        ScalarType.Float32 => 4,
        _ => 2,
    };

    static long[] Step(HybridLanguageModel model, HybridCache cache, Tensor ids)
    {
        using var scope = NewDisposeScope();
        using var context = new SequenceContext(null, cache);
        return TensorMemory.ToArray<long>(model.NextLogits(ids, context).argmax(1).cpu().contiguous());
    }

    /// <inheritdoc/>
    public override TaskResult Run(HybridLanguageModel model, CancellationToken cancellation = default)
    {
        var metrics = new List<Metric>();
        foreach (var row in Measure(model, cancellation))
        {
            string at = $"{row.BatchSize} x {row.TotalLength}";
            metrics.Add(new($"decode throughput, {at}", row.DecodeTokensPerSecond, null, 1, "tokens/s"));
            metrics.Add(new($"prefill throughput, {row.BatchSize} x {row.PromptLength}", row.PrefillTokensPerSecond, null, 1, "tokens/s"));
            metrics.Add(new($"time to first token, {row.BatchSize} x {row.PromptLength}", row.TimeToFirstToken.TotalMilliseconds, null, 1, "ms",
                HigherIsBetter: false));
            metrics.Add(new($"cache, {at}", row.CacheBytes, null, 1, "bytes", HigherIsBetter: false));
            metrics.Add(new($"cache by the cost model, {at}", row.PredictedCacheBytes, null, 1, "bytes", HigherIsBetter: false));
            if (row.PeakBytes is { } peak) metrics.Add(new($"peak memory, {at}", peak, null, 1, "bytes", HigherIsBetter: false));
            metrics.Add(new($"peak by the cost model, {at}", row.PredictedPeakBytes, null, 1, "bytes", HigherIsBetter: false));
        }
        return new(Name, $"Greedy decoding of random prompts of {options.PromptLength} tokens on {model.Device.type}.",
            [.. metrics.DistinctBy(metric => metric.Name)]);
    }
}
