using System.Globalization;
using HybridArchitectures.Evaluation.Statistics;
using HybridArchitectures.Evaluation.Tasks;
using HybridArchitectures.Generation;
using HybridArchitectures.Models;
using HybridArchitectures.Tokenization;
using HybridArchitectures.Training.Data;

namespace HybridArchitectures.Evaluation.LongContext;

/// <summary>Measures a long-context task over lengths and depths. The model continues each prompt greedily, and the answers are searched in its
/// output.</summary>
public sealed class LongContextEvaluation : EvaluationTask
{
    readonly LongContextTask task;
    readonly Tokenizer tokenizer;
    readonly LongContextOptions options;

    /// <summary>Creates the evaluation.</summary>
    /// <param name="task">The kind of prompt.</param>
    /// <param name="tokenizer">The tokenizer of the model.</param>
    /// <param name="options">The lengths, depths and trials.</param>
    public LongContextEvaluation(LongContextTask task, Tokenizer tokenizer, LongContextOptions options)
    {
        ArgumentNullException.ThrowIfNull(task);
        ArgumentNullException.ThrowIfNull(tokenizer);
        ArgumentNullException.ThrowIfNull(options);
        options.Check();
        (this.task, this.tokenizer, this.options) = (task, tokenizer, options);
    }

    /// <inheritdoc/>
    public override string Name => task.Name;

    /// <inheritdoc/>
    public override string? Settings => $"{task.Source}; lengths {string.Join(' ', options.Lengths)}, depths {Depths}, {options.Trials} trials, "
        + $"seed {options.Seed}, {task.MaxNewTokens} tokens written";

    string Depths => string.Join(' ', options.Depths.Select(depth => depth.ToString("r", CultureInfo.InvariantCulture)));

    /// <summary>Measures a model.</summary>
    /// <param name="model">The model.</param>
    /// <param name="progress">Receives each cell when it is complete.</param>
    /// <param name="cancellation">Stops the measurement with an <see cref="OperationCanceledException"/>.</param>
    public LongContextResult Measure(HybridLanguageModel model, IProgress<LongContextCell>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        using var generator = new TextGenerator(model, tokenizer);
        var cells = new List<LongContextCell>();
        double?[] depths = task.HasDepth ? [.. options.Depths.Select(depth => (double?)depth)] : [null];
        foreach (int length in options.Lengths)
            foreach (var depth in depths)
            {
                var cell = new LongContextCell(length, depth, Estimate.FromSamples(Scores(generator, length, depth, cancellation)));
                cells.Add(cell);
                progress?.Report(cell);
            }
        return new LongContextResult(Name, cells);
    }

    List<double> Scores(TextGenerator generator, int length, double? depth, CancellationToken cancellation)
    {
        var scores = new List<double>();
        int begin = tokenizer.BeginOfText is null ? 0 : 1;
        for (int start = 0; start < options.Trials; start += options.BatchSize)
        {
            var samples = Enumerable.Range(start, Math.Min(options.BatchSize, options.Trials - start)).Select(trial =>
            {
                var random = new SeededRandom(options.Seed, ((long)length << 32) + ((long)Math.Round((depth ?? 0) * 1000) << 20) + trial);
                return task.Create(text => tokenizer.Encode(text).Length + begin, length, depth ?? random.NextDouble(), random);
            }).ToArray();
            var written = generator.Generate([.. samples.Select(sample => sample.Prompt)],
                new GenerationOptions { MaxNewTokens = task.MaxNewTokens, Temperature = 0 }, cancellation);
            scores.AddRange(samples.Zip(written, (sample, result) => sample.Score(result.Text)));
        }
        return scores;
    }

    /// <inheritdoc/>
    public override TaskResult Run(HybridLanguageModel model, CancellationToken cancellation = default)
    {
        var result = Measure(model, cancellation: cancellation);
        List<Metric> metrics = [Metric.From("score", Estimate.FromSamples(result.Cells.Select(cell => cell.Score.Value)))];
        foreach (var (length, score) in result.ByLength()) metrics.Add(new Metric($"score at {length}", score, null, options.Trials));
        metrics.Add(new Metric("longest length at 0.9", result.MaxLengthAt() ?? 0, null, options.Trials, "tokens"));
        if (options.TrainingLength is { } trained)
            metrics.Add(new Metric("longest length at 0.9 over training length", (double)(result.MaxLengthAt() ?? 0) / trained, null,
                options.Trials));
        return new(Name, $"{task.Source}: {options.Trials} trials per length and depth, greedy, {task.MaxNewTokens} tokens written, seed "
            + $"{options.Seed}.", metrics, [result.ToHeatMap()], []);
    }
}
