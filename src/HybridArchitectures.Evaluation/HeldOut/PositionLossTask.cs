using HybridArchitectures.Evaluation.Statistics;
using HybridArchitectures.Evaluation.Tasks;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Training.Data;
using static TorchSharp.torch;

namespace HybridArchitectures.Evaluation.HeldOut;

/// <summary>
/// Measures the held-out loss by position in the window, also beyond the training length (as arXiv 2510.04800 does on PG19 up to 3 times the
/// training length).
/// The data is cut into consecutive windows of equal length. Every token of a window except the first is predicted once, from the tokens
/// before it in the window. The losses of neighbouring positions are averaged in a bucket.
/// </summary>
public sealed class PositionLossTask : EvaluationTask
{
    readonly TokenDataset data;
    readonly int contextLength, bucketSize, batchSize;
    readonly int? trainingLength;
    readonly long maxWindows;

    /// <summary>Creates a task.</summary>
    /// <param name="data">The held-out tokens. The task does not dispose them.</param>
    /// <param name="contextLength">The number of tokens per window, such as 1.5 or 2 times the training length.</param>
    /// <param name="buckets">The number of buckets, 1 to <paramref name="contextLength"/>. The default value is 16.</param>
    /// <param name="batchSize">The number of windows per forward pass. The default value is 4.</param>
    /// <param name="maxWindows">The maximum number of windows, spread evenly over the data. The default value, 0, means all.</param>
    /// <param name="trainingLength">The number of tokens of a window in training, beyond which the rise of the loss is reported. Null omits
    /// it.</param>
    public PositionLossTask(TokenDataset data, int contextLength, int buckets = 16, int batchSize = 4, long maxWindows = 0,
        int? trainingLength = null)
    {
        ArgumentNullException.ThrowIfNull(data);
        Require.InRange(contextLength >= 1 && contextLength < data.Count, nameof(contextLength), contextLength,
            $"1 to {data.Count - 1}, less than the data's tokens");
        Require.InRange(buckets >= 1 && buckets <= contextLength, nameof(buckets), buckets, $"1 to {contextLength}");
        Require.InRange(batchSize >= 1, nameof(batchSize), batchSize, "at least 1 window");
        Require.InRange(maxWindows >= 0, nameof(maxWindows), maxWindows, "at least 0 windows");
        (this.data, this.contextLength, this.batchSize, this.maxWindows, this.trainingLength) = (data, contextLength, batchSize, maxWindows,
            trainingLength);
        bucketSize = (contextLength + buckets - 1) / buckets;
    }

    /// <inheritdoc/>
    public override string Name => $"loss by position to {contextLength}";

    /// <inheritdoc/>
    public override string? Settings =>
        $"{data.Description}; windows of {contextLength}, at most {maxWindows}, buckets of {bucketSize}, training length {trainingLength}";

    /// <summary>Measures a model.</summary>
    /// <param name="model">The model.</param>
    /// <param name="cancellation">Stops the measurement with an <see cref="OperationCanceledException"/>.</param>
    public PositionLossResult Measure(HybridLanguageModel model, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        using var mode = new EvaluationModeScope(model);
        long windows = (data.Count - 1) / contextLength, count = maxWindows == 0 ? windows : Math.Min(windows, maxWindows);
        int buckets = (contextLength + bucketSize - 1) / bucketSize;
        var sums = new double[count, buckets];
        var bytes = new double[count];
        for (long start = 0; start < count; start += batchSize)
        {
            cancellation.ThrowIfCancellationRequested();
            int rows = (int)Math.Min(batchSize, count - start);
            long[] starts = [.. Enumerable.Range(0, rows).Select(row => (long)((Int128)(start + row) * windows / count) * contextLength)];
            Add(model, starts, start, sums, bytes);
        }
        return Result(sums, bytes, buckets);
    }

    void Add(HybridLanguageModel model, long[] starts, long first, double[,] sums, double[] bytes)
    {
        using var scope = NewDisposeScope();
        var (ids, targets) = (new long[starts.Length * contextLength], new long[starts.Length * contextLength]);
        var window = new long[contextLength + 1];
        for (int row = 0; row < starts.Length; row++)
        {
            data.CopyTo(starts[row], window);
            window.AsSpan(0, contextLength).CopyTo(ids.AsSpan(row * contextLength));
            window.AsSpan(1).CopyTo(targets.AsSpan(row * contextLength));
            if (data.KnowsBytes) bytes[first + row] = data.CountBytes(window.AsSpan(1));
        }
        Tensor ToRows(long[] values) => tensor(values, [starts.Length, contextLength], device: model.Device);
        var losses = TensorMemory.ToArray<float>(model.TokenLosses(ToRows(ids), ToRows(targets)).cpu().contiguous());
        for (int row = 0; row < starts.Length; row++)
            for (int i = 0; i < contextLength; i++) sums[first + row, i / bucketSize] += losses[row * contextLength + i];
    }

    PositionLossResult Result(double[,] sums, double[] bytes, int buckets)
    {
        int windows = bytes.Length;
        double Sum(int window) => Enumerable.Range(0, buckets).Sum(bucket => sums[window, bucket]);
        var found = Enumerable.Range(0, buckets).Select(bucket =>
        {
            int start = bucket * bucketSize, end = Math.Min(contextLength, start + bucketSize);
            return new PositionBucket(start, end, Estimate.FromSamples(Enumerable.Range(0, windows)
                .Select(window => sums[window, bucket] / (end - start))));
        });
        var bits = data.KnowsBytes && bytes.Any(value => value > 0)
            ? Estimate.FromRatio(Enumerable.Range(0, windows).Select(window => (Sum(window) / Math.Log(2), bytes[window]))) : null;
        return new(contextLength, Estimate.FromSamples(Enumerable.Range(0, windows).Select(window => Sum(window) / contextLength)), bits, [.. found]);
    }

    /// <inheritdoc/>
    public override TaskResult Run(HybridLanguageModel model, CancellationToken cancellation = default)
    {
        var result = Measure(model, cancellation);
        List<Metric> metrics = [Metric.From("loss", result.Loss, "nats per token", higherIsBetter: false)];
        if (result.BitsPerByte is { } bits) metrics.Add(Metric.From("bits per byte", bits, "bits per byte", higherIsBetter: false));
        if (trainingLength is { } length && result.RiseBeyond(length) is { } rise)
            metrics.Add(new Metric($"rise beyond {length}", rise, null, result.Loss.Count, "nats per token", HigherIsBetter: false));
        var points = result.Buckets.Select(bucket => new CurvePoint((bucket.Start + bucket.End) / 2.0, bucket.Loss.Value, bucket.Loss.StandardError));
        return new(Name, $"Mean cross entropy over {result.Loss.Count} windows of {contextLength} tokens, in buckets of {bucketSize} positions.",
            metrics, [],
            [new MeasuredCurve("Loss by position", "position (tokens)", "nats per token", [.. points])]);
    }
}
