using System.Globalization;
using HybridArchitectures.Evaluation.Likelihood;
using HybridArchitectures.Evaluation.Statistics;
using HybridArchitectures.Evaluation.Tasks;
using HybridArchitectures.Models;
using HybridArchitectures.Training.Data;

namespace HybridArchitectures.Evaluation.Recall;

/// <summary>
/// Generates rows from a seed, for training and for measurement, without a download and in any number. Targets are set where the answer follows
/// from the row. All other positions do not count.
/// </summary>
public abstract record SyntheticTask
{
    /// <summary>The seed of the rows that <see cref="Measure"/> uses by default. Training seeds should differ from it.</summary>
    public const long TestSeed = 0x7e57_5eed;

    /// <summary>Gets the name of the task.</summary>
    public abstract string Name { get; }

    /// <summary>Gets the minimum vocabulary size of a model.</summary>
    public abstract int RequiredVocabularySize { get; }

    /// <summary>
    /// Gets or sets the number of positions per row, which is the context length for training. Lengths and vocabularies of the tasks of this library
    /// are at most 1,048,576.
    /// </summary>
    public abstract int Length { get; init; }

    /// <summary>Fills a row.</summary>
    /// <param name="random">The random generator.</param>
    /// <param name="row">An empty row of at least <see cref="Length"/> positions.</param>
    /// <param name="isTraining">True for a training row. A test row may have fewer targets or harder questions.</param>
    protected abstract void Fill(SeededRandom random, TrainingRow row, bool isTraining);

    /// <summary>Checks the settings.</summary>
    /// <exception cref="ArgumentException">A setting is out of range.</exception>
    public abstract void Check();

    /// <summary>Creates training data. Its rows need a context length of at least <see cref="Length"/>.</summary>
    public GeneratedData ToTrainingData() => ToData(isTraining: true);

    internal GeneratedData ToData(bool isTraining)
    {
        Check();
        return new GeneratedData(RequiredVocabularySize, $"{Describe()}, {(isTraining ? "training" : "test")} rows", (random, row) =>
        {
            Require.InRange(row.ContextLength >= Length, nameof(row.ContextLength), row.ContextLength, $"at least {Length}, the length of {Name}");
            Fill(random, row, isTraining);
            row.Length = Length;
        });
    }

    // every setting, the same in every culture
    string Describe()
    {
        var culture = CultureInfo.CurrentCulture;
        CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
        try
        {
            return ToString();
        }
        finally
        {
            CultureInfo.CurrentCulture = culture;
        }
    }

    /// <summary>Measures a model on test rows.</summary>
    /// <param name="model">The model. Its vocabulary must have at least <see cref="RequiredVocabularySize"/> tokens.</param>
    /// <param name="rows">The number of rows. The default value is 256.</param>
    /// <param name="seed">The seed of the rows. The default value is <see cref="TestSeed"/>.</param>
    /// <param name="batchSize">The number of rows per forward pass. The default value is 16.</param>
    /// <param name="cancellation">Stops the measurement with an <see cref="OperationCanceledException"/>.</param>
    public SyntheticResult Measure(HybridLanguageModel model, int rows = 256, long seed = TestSeed, int batchSize = 16,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        Require.AtLeast(rows, 1);
        Require.AtLeast(batchSize, 1);
        if (model.VocabularySize < RequiredVocabularySize)
            throw Require.Unfit(nameof(model), $"model has a vocabulary of {model.VocabularySize}",
                $"at least {RequiredVocabularySize}, that of {Name}");
        var reader = ToData(isTraining: false).OpenReader(new TrainingReaderOptions(Length, seed));
        var (correct, nats, counts) = (new double[rows], new double[rows], new double[rows]);
        for (int start = 0; start < rows; start += batchSize)
        {
            cancellation.ThrowIfCancellationRequested();
            using var batch = reader.ReadBatch(Math.Min(batchSize, rows - start));
            var found = TargetPredictions.Measure(model, batch.Ids, batch.Targets, batch.Layout?.RowLengths);
            for (int i = 0; i < found.Row.Length; i++)
            {
                int row = start + found.Row[i];
                counts[row]++;
                nats[row] -= found.LogProbability[i];
                if (found.IsGreedy[i]) correct[row]++;
            }
        }
        return new(Estimate.FromRatio(correct.Zip(counts)), Estimate.FromSamples(correct.Zip(counts, (right, all) => right == all ? 1.0 : 0)),
            Estimate.FromRatio(nats.Zip(counts)));
    }

    /// <summary>Creates the task that measures a model in a sweep.</summary>
    /// <param name="rows">The number of test rows. The default value is 256.</param>
    /// <param name="seed">The seed of the rows. The default value is <see cref="TestSeed"/>.</param>
    public EvaluationTask ToEvaluationTask(int rows = 256, long seed = TestSeed) => EvaluationTask.Create(Name, (model, cancellation) =>
    {
        var result = Measure(model, rows, seed, cancellation: cancellation);
        return new TaskResult(Name, $"{Describe()}; {rows} test rows of seed {seed}.", Metric.From("accuracy", result.Accuracy),
            Metric.From("accuracy of whole rows", result.RowAccuracy), Metric.From("loss", result.Loss, "nats per target", higherIsBetter: false));
    }, $"{Describe()}; {rows} rows of seed {seed}");

    /// <summary>Measures models that were trained at several lengths on rows of several lengths.</summary>
    /// <param name="models">The models and the lengths at which they were trained.</param>
    /// <param name="testLengths">The lengths to measure at.</param>
    /// <param name="rows">The number of test rows per cell. The default value is 64.</param>
    /// <param name="cancellation">Stops the measurement with an <see cref="OperationCanceledException"/>.</param>
    /// <returns>The accuracy by training length (rows) and test length (columns).</returns>
    public HeatMap MeasureGrid(
        IReadOnlyList<(int TrainingLength, HybridLanguageModel Model)> models, IReadOnlyList<int> testLengths, int rows = 64,
            CancellationToken cancellation = default)
    {
        Require.Items(models);
        ArgumentNullException.ThrowIfNull(testLengths);
        static string Text(int length) => length.ToString(CultureInfo.InvariantCulture);
        var values = models.Select(item => (IReadOnlyList<double?>)[.. testLengths.Select(length =>
            (double?)(this with { Length = length }).Measure(item.Model, rows, cancellation: cancellation).Accuracy.Value)]);
        return new HeatMap($"Accuracy of {Name}", "trained at", [.. models.Select(item => Text(item.TrainingLength))], "tested at",
            [.. testLengths.Select(Text)], [.. values]);
    }
}
