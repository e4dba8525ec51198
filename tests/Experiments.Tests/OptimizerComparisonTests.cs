using static TorchSharp.torch;

namespace HybridArchitectures.Experiments.Tests;

public sealed class OptimizerComparisonTests : IDisposable
{
    readonly string folder = Directory.CreateTempSubdirectory("hybrid-optimizers-").FullName;

    readonly StudyData data = StudyData.OpenTiny(Path.Combine(Repository.Root, "lab", "experiments", "tokenizer"));

    [Fact]
    public void A_stopped_comparison_continues_with_the_runs_that_are_missing()
    {
        var lines = new List<string>();
        using var stop = new CancellationTokenSource();
        OptimizerComparison Comparison(Action<string> print) => new(data, folder, CPU, tiny: true) { Steps = 4, Print = print };
        Assert.False(Comparison(line =>
        {
            lines.Add(line);
            if (lines.Count == 3) stop.Cancel();
        }).Run(stop.Token));
        Assert.Equal(3, lines.Count);
        Assert.True(Comparison(lines.Add).Run(default));
        // four rates each and two next to the best one, then for two seeds one run of AdamW and two of Muon; the second call names all
        Assert.Equal(3 + 12 + 6, lines.Count);
        Assert.Equal(lines[..3], lines[3..6]);
        string table = Comparison(lines.Add).Table();
        Assert.Equal(2, table.Split('\n').Count(line => line.StartsWith("| Muon, ", StringComparison.Ordinal) && !line.Contains("| - |")));
        Assert.Contains("of the steps of AdamW for its mean loss", table);
    }

    [Fact]
    public void The_needed_share_is_interpolated_in_the_logarithm_of_the_steps()
    {
        (double, double)[] points = [(0.5, 4.2), (0.75, 3.9), (1, 3.8)];
        Assert.Equal(0.75, OptimizerComparison.NeededShare(3.9, points), 1e-12);
        Assert.Equal(Math.Sqrt(0.5 * 0.75), OptimizerComparison.NeededShare(4.05, points), 1e-12);
        Assert.Equal(Math.Sqrt(0.75), OptimizerComparison.NeededShare(3.85, points), 1e-12);
        // extrapolated from the nearest two
        Assert.Equal(0.5 * 0.5 / 0.75, OptimizerComparison.NeededShare(4.5, points), 1e-12);
        Assert.Equal(double.PositiveInfinity, OptimizerComparison.NeededShare(3, [(0.5, 4), (1, 4.1)]));
    }

    public void Dispose()
    {
        data.Dispose();
        Directory.Delete(folder, recursive: true);
    }
}
