namespace HybridArchitectures.Reports.Tests;

/// <summary>Curves that look like those of small byte models: a fall with noise, measured now and then on held-out text.</summary>
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

    public static IReadOnlyList<LossCurve> Three { get; } = [Curve("Hybrid 1:5", 2.02, seed: 1), Curve("Transformer", 2.22, seed: 2), Curve("Mamba-2", 2.08, seed: 3)];

    public static IReadOnlyList<Baseline> Baselines { get; } = [new("order-0 bytes", 4.46), new("order-2 bytes", 2.49)];
}
