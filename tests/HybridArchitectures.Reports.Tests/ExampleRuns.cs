using HybridArchitectures.Reports.Page;
using HybridArchitectures.Training.Optimization;

namespace HybridArchitectures.Reports.Tests;

/// <summary>Generates loss curves like those of small byte models. They fall with noise and have some measurements on held-out text.</summary>
static class ExampleRuns
{
    public static LossCurve Curve(string name, double floor, int steps = 400, int seed = 0)
    {
        var random = new Random(seed);
        var points = new List<RunPoint>();
        for (int step = 1; step <= steps; step++)
        {
            double clean = floor + (8 - floor) * Math.Exp(-step / 12.0) * 0.7 + (8 - floor) * 0.3 / Math.Sqrt(step);
            double? heldOut = step % 50 == 0 ? clean + 0.03 : null;
            points.Add(new RunPoint(step, step * 8192L, step * 0.21, clean + 0.12 * (random.NextDouble() - 0.5), heldOut));
        }
        return new LossCurve(name, points);
    }

    public static IReadOnlyList<LossCurve> Three { get; } =
        [Curve("Hybrid 1:5", 2.02, seed: 1), Curve("Transformer", 2.22, seed: 2), Curve("Mamba-2", 2.08, seed: 3)];

    public static IReadOnlyList<Baseline> Baselines { get; } = [new("order-0 bytes", 4.46), new("order-2 bytes", 2.49)];

    public static RunReport Report { get; } = new()
    {
        Title = "Hybrid, Transformer and Mamba-2 on class library prose",
        Description =
        "Three byte-level models of the same parameter count, trained for the same time on the English documentation of the .NET class library.",
        Created = new DateTimeOffset(2026, 1, 2, 3, 4, 0, TimeSpan.Zero),
        Runs =
        [
            Run(Three[0], ExampleDesigns.Inter, "Gets the number of elements that <b>can</b> be held & kept.\nReturns \u001b[31mnull\u001b[0m if"),
            Run(Three[1], ExampleDesigns.Transformer, "the value of the specified object is not a valid type"),
            Run(Three[2], ExampleDesigns.Everything, "</pre><script>alert(1)</script>"),
        ],
        Baselines = Baselines,
        Facts = [new("processor", "2 cores"), new("data", "11 MB, split by assembly")],
    };

    static RunSummary Run(LossCurve curve, Design.HybridDesign design, string text) => new()
    {
        Name = curve.Name,
        Design = design,
        Points = curve.Points,
        Samples = [new("The method ", text, "temperature 0.8, seed 0")],
        Facts = [new("optimizer", "AdamW, 3e-3"), new("batch", "8 x 1024 tokens")],
    };
}
