using HybridArchitectures.Design;
using static TorchSharp.torch;

namespace HybridArchitectures.Experiments.Tests;

public sealed class RecipeRunTests : IDisposable
{
    const int Steps = 8, StopAfter = 5;

    readonly string folder = Directory.CreateTempSubdirectory("hybrid-recipe-").FullName;

    readonly StudyData data = StudyData.OpenTiny(Path.Combine(Repository.Root, "lab", "experiments", "tokenizer"));

    static Recipe Tiny => Recipes.Get("100M-inter-1:5") with
    {
        Name = "tiny",
        Design = HybridDesign.Create(16, 256).WithAttention(2, 1).WithMamba2(8, 8).WithFeedForward(FeedForwardSpec.SwiGlu(32)).Pattern("MT").Build(),
    };

    RecipeRun Run(string name, Action<string>? print = null, long? steps = Steps) => new(data, Path.Combine(folder, name), CPU)
    {
        Steps = steps, ContextLength = 32, TokensPerStep = 64, HeldOutTokens = 256, ReportEvery = 1, Print = print ?? (_ => { }),
    };

    // without the measurements of time and memory
    static IEnumerable<RecipePoint> Curve(RecipeRun run) => RecipeCurve.Read(run.CurveFile)
        .Select(point => point with { Seconds = 0, TokensPerSecond = null, MemoryBytes = null });

    void Stop(string name)
    {
        using var stop = new CancellationTokenSource();
        var run = Run(name, line =>
        {
            if (line.StartsWith($"step {StopAfter} ", StringComparison.Ordinal)) stop.Cancel();
        });
        Assert.False(run.Run(Tiny, TimeSpan.FromHours(1), stop.Token));
        Assert.Equal(StopAfter, Curve(run).Max(point => point.Step));
    }

    [Fact]
    public void A_stopped_run_continues_to_the_same_curve()
    {
        var whole = Run("whole");
        Assert.True(whole.Run(Tiny, TimeSpan.FromHours(1), default));
        Stop("stopped");
        // as if the process had gone on after its last checkpoint and had been killed while it wrote a line
        File.AppendAllText(Run("stopped").CurveFile, "{\"step\":6,\"tokens\":384,\"seconds\":1,\"loss\":1}\n{\"step\":7,\"to");
        // neither the time nor the number of steps of the second call counts
        var rest = Run("stopped", steps: null);
        Assert.True(rest.Run(Tiny, TimeSpan.FromMilliseconds(1), default));
        Assert.Equal(Curve(whole), Curve(rest));
        Assert.Equal(Steps, Curve(whole).Count(point => point.Loss is not null));
        Assert.Contains(Curve(whole), point => point is { Step: Steps, HeldOutLoss: not null });
    }

    [Fact]
    public void A_run_has_a_picture_and_a_learning_rate_that_falls_until_its_last_step()
    {
        var run = Run("picture");
        Assert.True(run.Run(Tiny, TimeSpan.FromHours(1), default));
        Assert.True(File.Exists(Path.Combine(folder, "picture", "report", "loss.png")));
        var rates = Curve(run).Where(point => point.Loss is not null).Select(point => point.LearningRate!.Value).ToArray();
        double peak = Tiny.Training.PeakLearningRate * Math.Sqrt(64.0 / Tiny.Training.BatchTokens);
        Assert.Equal(peak, rates.Max(), 1e-12);
        Assert.True(rates[^1] < 0.7 * peak && rates[0] < peak);
    }

    [Fact]
    public void A_time_becomes_a_number_of_steps_before_the_run_begins()
    {
        var lines = new List<string>();
        Assert.True(Run("timed", lines.Add, steps: null).Run(Tiny, TimeSpan.FromSeconds(1), default));
        Assert.Contains(lines, line => line.StartsWith("pilot: ", StringComparison.Ordinal));
        // 97 s for training, 20 of them for evaluations
        Assert.Equal(154, new RecipePilot(TimeSpan.FromSeconds(0.5), TimeSpan.FromSeconds(2)).StepsIn(TimeSpan.FromSeconds(100), 10));
        Assert.Equal(1, new RecipePilot(TimeSpan.FromSeconds(0.5), TimeSpan.FromSeconds(2)).StepsIn(TimeSpan.FromSeconds(1), 10));
    }

    public void Dispose()
    {
        data.Dispose();
        Directory.Delete(folder, recursive: true);
    }
}
