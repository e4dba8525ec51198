using HybridArchitectures.Evaluation.Sweeps;
using static TorchSharp.torch;

namespace HybridArchitectures.Experiments.Tests;

public sealed class TokenBranchTests : IDisposable
{
    const string Base = "attention", Twice = "attention, tokens x 2", FourTimes = "attention, tokens x 4";

    static readonly StudySize Size = StudySize.Tiny with { Seeds = [1] };

    readonly string folder = Directory.CreateTempSubdirectory("hybrid-tokens-").FullName;

    readonly StudyData data = StudyData.OpenTiny(Path.Combine(Repository.Root, "lab", "experiments", "tokenizer"));

    Experiment Tokens => new Catalogue(Size, data.Tokenizer.VocabularySize).All.Single(experiment => experiment.Name == Catalogue.TokensName);

    // returns whether all runs are complete, and the steps that were trained, in order
    (bool IsComplete, List<string> Steps) Run(string name, string[] designs, int stopAfter = int.MaxValue)
    {
        string runs = Directory.CreateDirectory(Path.Combine(folder, name)).FullName;
        LearningRates.Write(Path.Combine(runs, "learning-rates.json"), new Dictionary<string, double> { [LearningRates.Attention] = 1e-2 });
        using var stop = new CancellationTokenSource();
        var watch = new Watch(stop, stopAfter);
        return (new ExperimentRunner(Size, data, runs, CPU) { Progress = watch }.Run([Tokens], designs, stop.Token), watch.Steps);
    }

    // the losses of all reports and the held-out loss
    IEnumerable<double> Losses(string name, string design)
    {
        var training = Sweep.Read(Path.Combine(folder, name)).Runs.Single(run => run.Settings.Name == design).Training!;
        Assert.Null(training.Failure);
        return training.Loss.Concat(training.HeldOutLoss).Select(point => point.Loss);
    }

    [Fact]
    public void Runs_share_the_steps_before_their_decay_and_have_the_losses_of_separate_runs()
    {
        var (isComplete, steps) = Run("branches", [Twice, FourTimes]);
        Assert.True(isComplete);
        // the cool-down of 6 steps begins after 4.8
        Assert.Equal([.. Enumerable.Range(1, 4).Select(step => $"{step}/12"), "5/6", "6/6", .. Enumerable.Range(5, 8).Select(step => $"{step}/12")],
            steps);
        foreach (string design in (string[])[Twice, FourTimes])
        {
            Assert.True(Run("separate", [design]).IsComplete);
            Assert.Equal(Losses("separate", design), Losses("branches", design));
        }
        Assert.Empty(Run("branches", [Twice, FourTimes]).Steps);
    }

    [Fact]
    public void Stopped_branches_continue_to_the_same_losses()
    {
        Assert.True(Run("whole", [Twice, FourTimes]).IsComplete);
        // in the trunk, at the copy of its checkpoint, in the branch, and in the trunk again
        foreach (int stopAfter in (int[])[2, 4, 5, 9])
        {
            string name = $"stopped-{stopAfter}";
            Assert.False(Run(name, [Twice, FourTimes], stopAfter).IsComplete);
            var (isComplete, steps) = Run(name, [Twice, FourTimes]);
            Assert.True(isComplete);
            Assert.Equal(14 - stopAfter, steps.Count);
            foreach (string design in (string[])[Twice, FourTimes]) Assert.Equal(Losses("whole", design), Losses(name, design));
        }
    }

    [Fact]
    public void Results_are_recognised_on_another_machine()
    {
        Assert.True(Run("first", [Twice, FourTimes]).IsComplete);
        string archive = Path.Combine(folder, "results.zip");
        ResultFiles.Pack(Path.Combine(folder, "first"), archive);
        ResultFiles.Unpack(archive, Path.Combine(folder, "second"));
        var (isComplete, steps) = Run("second", [Twice, FourTimes]);
        Assert.True(isComplete);
        Assert.Empty(steps);
        Assert.Equal(2, ResultFiles.Collect(Path.Combine(folder, "second"), Path.Combine(folder, "runs.jsonl")).Runs.Count);
    }

    [Fact]
    public void The_report_has_the_losses_and_differences_at_each_number_of_tokens()
    {
        string[] designs = [Base, "inter 1:5"];
        var runs = SweepResult.ReadFile(Path.Combine(Repository.Root, "lab", "experiments", "results", "runs.jsonl")).Runs
            .Where(run => designs.Contains(run.Settings.Name)).ToArray();
        // as if more tokens changed nothing
        SweepRun Longer(SweepRun run, int count) => run with
        {
            Settings = run.Settings with { Name = $"{run.Settings.Name}, tokens x {count}" },
            Training = run.Training! with { Tokens = count * run.Training.Tokens },
        };
        var all = new SweepResult([.. runs, .. runs.Select(run => Longer(run, 2)), .. runs.Select(run => Longer(run, 4))], true);
        var size = new StudySize();
        new StudyReport(size, new Catalogue(size, data.Tokenizer.VocabularySize), all, []).Write(folder);

        string[] lines = File.ReadAllLines(Path.Combine(folder, "experiments.md"));
        string[] After(string title) => [.. lines.SkipWhile(line => !line.StartsWith(title, StringComparison.Ordinal)).TakeWhile(line => line != "")];
        string[] losses = After("| held-out loss | "), differences = After("| difference from attention | ");
        Assert.Equal("| held-out loss | 19.7 million tokens | 39.3 million tokens | 78.6 million tokens |", losses[0]);
        Assert.Contains("| attention | 3.756 \u00b1 0.016 | 3.756 \u00b1 0.016 | 3.756 \u00b1 0.016 |", losses);
        Assert.Contains("| inter 1:5 | -0.216 [-0.241, -0.190] | -0.216 [-0.241, -0.190] | -0.216 [-0.241, -0.190] |", differences);
        Assert.True(File.Exists(Path.Combine(folder, Catalogue.TokensName, "scaling-training-tokens.svg")));
    }

    public void Dispose()
    {
        data.Dispose();
        Directory.Delete(folder, recursive: true);
    }

    sealed class Watch(CancellationTokenSource? stop, int stopAfter) : IProgress<SweepProgress>
    {
        public List<string> Steps { get; } = [];

        public void Report(SweepProgress value)
        {
            if (value.Training is not { } report) return;
            Steps.Add($"{report.Step}/{report.TotalSteps}");
            if (Steps.Count == stopAfter) stop?.Cancel();
        }
    }
}
