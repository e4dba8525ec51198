using HybridArchitectures.Evaluation.Inference;
using HybridArchitectures.Evaluation.Statistics;
using HybridArchitectures.Evaluation.Sweeps;
using HybridArchitectures.Evaluation.Tasks;
using HybridArchitectures.Reports.Drawing;
using HybridArchitectures.Storage;

namespace HybridArchitectures.Reports.Sweeps;

/// <summary>
/// Writes a sweep as one HTML page with tables, charts of quality against cost, loss curves, heat maps, designs and runs, and its figures as PNG and
/// SVG.
/// </summary>
public sealed class SweepReport
{
    /// <summary>Creates a report.</summary>
    /// <param name="result">The runs, at least one, such as <see cref="Sweep.Read"/> returns.</param>
    /// <exception cref="ArgumentException">There are no runs.</exception>
    public SweepReport(SweepResult result)
    {
        ArgumentNullException.ThrowIfNull(result);
        if (result.Runs.Count == 0) throw Require.Unfit(nameof(result), "result has 0 runs", "at least 1");
        Result = result;
    }

    /// <summary>Gets the runs of the sweep.</summary>
    public SweepResult Result { get; }

    /// <summary>Gets or sets the title of the page. The default value is "Sweep".</summary>
    public string Title { get; init; } = "Sweep";

    /// <summary>Gets or sets a few sentences below the title of the page. The default value is empty.</summary>
    public string Description { get; init; } = "";

    /// <summary>Gets or sets the design with which the others are compared. The default value, null, means the first design.</summary>
    public string? Baseline { get; init; }

    /// <summary>
    /// Gets or sets the task and the metric of the charts of quality. The default value, null, means the first metric of the first task, or the
    /// held-out loss of training.
    /// </summary>
    public (string Task, string Metric)? Quality { get; init; }

    /// <summary>
    /// Gets or sets scaling curves in addition to those of the families of the sweep, such as those of decay branches. The default is empty.
    /// </summary>
    public IReadOnlyList<ScalingCurve> Scaling { get; init; } = [];

    // the fits by axis; curves that cannot be fitted are left out
    internal IReadOnlyList<IGrouping<string, FittedCurve>> Fits => fits ??= [.. ScalingCurve.FromSweep(Result).Concat(Scaling)
        .Where(curve => curve.CanFit).GroupBy(curve => curve.Axis)
        .SelectMany(axis => axis.Select((curve, index) => new FittedCurve(curve, ScalingFit.Fit(curve.Points), ColourOf(curve, index))))
        .GroupBy(fitted => fitted.Curve.Axis)];

    // a curve of a design has the colour of the design
    int ColourOf(ScalingCurve curve, int index) => Result.Designs.ToList().IndexOf(curve.Name) is >= 0 and var design ? design
        : Result.Designs.Count + index;

    internal int Colours => Math.Max(Result.Designs.Count, 1 + Fits.SelectMany(axis => axis.Select(curve => curve.Index)).DefaultIfEmpty(0).Max());

    IReadOnlyList<IGrouping<string, FittedCurve>>? fits;

    internal string BaselineName => Baseline ?? Result.Designs[0];

    internal (string Task, Metric? Metric) QualityMetric
    {
        get
        {
            if (Quality is { } wanted)
                return Result.Metrics.FirstOrDefault(item => item.Task == wanted.Task && item.Metric.Name == wanted.Metric);
            var tasks = Result.Metrics.Where(item => item.Task != SweepRun.TrainingTask && item.Task != new InferenceCostTask().Name);
            return tasks.Concat(Result.Metrics).FirstOrDefault();
        }
    }

    internal int IndexOf(SweepRun run) => Result.Designs.ToList().IndexOf(run.Settings.Name);

    internal IReadOnlyList<ScatterPoint> Points(SweepAxis axis)
    {
        var (task, metric) = QualityMetric;
        var points = new List<ScatterPoint>();
        for (int index = 0; metric is not null && index < Result.Designs.Count; index++)
        {
            string design = Result.Designs[index];
            if (Result.Mean(design, task, metric.Name) is { } mean && double.IsFinite(mean.Value) && axis.Cost(design) is { } cost
                && double.IsFinite(cost))
                points.Add(new(design, index, cost, mean.Value, mean.StandardError));
        }
        return points;
    }

    internal IReadOnlyList<(int Index, IReadOnlyList<CurvePoint> Points)> LossCurves(Func<SweepTraining, IReadOnlyList<SweepLossPoint>> curve) =>
        [.. Result.Runs.Where(run => run.Training is { } training && curve(training).Count > 0)
            .Select(run => (IndexOf(run), (IReadOnlyList<CurvePoint>)[.. curve(run.Training!)
            .Select(point => new CurvePoint(point.Tokens, point.Loss, point.StandardError))]))];

    /// <summary>Returns the page as HTML without external files.</summary>
    /// <exception cref="ArgumentException">
    /// <see cref="Baseline"/> is not a design of the sweep, or no run has measured <see cref="Quality"/> although others are measured.
    /// </exception>
    public string ToHtml()
    {
        if (!Result.Designs.Contains(BaselineName))
            throw Require.Unfit(nameof(Baseline), $"Baseline is '{Baseline}'", $"one of {string.Join(", ", Result.Designs)}");
        if (Quality is var (task, metric)) Result.RequireMetric(task, metric);
        return new SweepPage(this).Write();
    }

    /// <summary>
    /// Writes <c>index.html</c>, and as PNG and SVG <c>loss</c>, <c>quality-COST</c> and <c>scaling-AXIS</c>. Everything is drawn before the first
    /// file is written. Each file is written atomically, the page last.
    /// </summary>
    /// <param name="folder">The folder to write. It is created if it does not exist.</param>
    /// <exception cref="IOException">A file cannot be written.</exception>
    public void Write(string folder)
    {
        Require.NotEmpty(folder);
        var files = new List<(string Name, byte[] Content)>();
        void Add(string name, Picture picture)
        {
            files.Add(($"{name}.svg", Utf8(SvgWriter.Standalone(picture, Colours))));
            files.Add(($"{name}.png", PngWriter.Draw(picture, 2)));
        }
        if (LossCurves(training => training.Loss) is { Count: > 0 } curves) Add("loss",
            SweepPictures.Curves("Training loss", "tokens", "training loss (nats per token)", curves));
        foreach (var axis in SweepAxis.ForResult(Result))
            if (QualityMetric.Metric is { } metric && Points(axis) is { Count: > 0 } points)
                Add($"quality-{axis.Id}", SweepPictures.Scatter(points, axis, metric.Name, metric.HigherIsBetter));
        foreach (var axis in Fits) Add($"scaling-{axis.Key.Replace(' ', '-').ToLowerInvariant()}", SweepPictures.Scaling([.. axis], axis.Key));
        files.Add(("index.html", Utf8(ToHtml())));
        Directory.CreateDirectory(folder);
        foreach (var (name, content) in files) AtomicWrite.File(Path.Combine(folder, name), temporary => File.WriteAllBytes(temporary, content));
    }

    static byte[] Utf8(string text) => System.Text.Encoding.UTF8.GetBytes(text);
}
