using System.Diagnostics;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;
using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Evaluation.HeldOut;
using HybridArchitectures.Evaluation.Inference;
using HybridArchitectures.Evaluation.Statistics;
using HybridArchitectures.Evaluation.Sweeps;
using HybridArchitectures.Evaluation.Tasks;
using HybridArchitectures.Models;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Optimization;
using HybridArchitectures.Training.Running;
using HybridArchitectures.Training.Tests;
using static TorchSharp.torch;

namespace HybridArchitectures.Evaluation.Tests;

public sealed class SweepTests : IDisposable
{
    const int VocabularySize = 20;

    readonly TemporaryFolder folder = new();
    readonly TokenDataset data = Tokens(600), heldOut = Tokens(100);

    public void Dispose()
    {
        data.Dispose();
        heldOut.Dispose();
        folder.Dispose();
    }

    static TokenDataset Tokens(int count)
    {
        var random = new SeededRandom(count);
        var tokens = new int[count];
        for (int i = 1; i < count; i++) tokens[i] = random.Next(4) == 0 ? random.Next(VocabularySize) : (tokens[i - 1] * 3 + 1) % VocabularySize;
        return TokenDataset.FromTokens(tokens, VocabularySize);
    }

    static HybridDesign Design(string name, bool attention)
    {
        var start = HybridDesign.Create(8, VocabularySize).WithFeedForward(FeedForwardSpec.SwiGlu(16)).Depth(2).Name(name);
        return attention ? start.WithAttention(heads: 2).Build() : start.WithMamba2(stateSize: 4, headSize: 4).Build();
    }

    SweepOptions Options(string name) => new()
    {
        Folder = folder[name], Designs = [Design("attention", true), Design("mamba", false)], Seeds = [1, 2], Data = data, HeldOut = heldOut,
        Tasks = [new HeldOutTask(heldOut, 16)],
        Training = new TrainingOptions { LearningRate = 0.01, ContextLength = 16, BatchSize = 4, Duration = Duration.Steps(12), ReportEvery = 3 },
    };

    [Theory]
    [InlineData(40, 12)]
    [InlineData(100, 6)]
    [InlineData(400, 1)]
    [InlineData(2000, 1)]
    public void A_run_measures_no_more_held_out_tokens_than_it_trains_except_at_its_end(int heldOutTokens, int measurements)
    {
        using var other = Tokens(heldOutTokens);
        new Sweep(Options("measured") with { HeldOut = other, Tasks = [], Designs = [Design("mamba", false)], Seeds = [1] }).Run();
        var training = Results(folder["measured"]).Values.Select(text => JsonNode.Parse(text)!).Single(json => json["heldOutLoss"] is not null);
        long[] steps = [.. training["heldOutLoss"]!.AsArray().Select(point => point!["step"]!.GetValue<long>())];
        Assert.Equal(measurements, steps.Length);
        Assert.Equal(12, steps[^1]);
        Assert.True(measurements == 1 || measurements * heldOutTokens <= 12 * 4 * 16);
    }

    sealed class Lines : IProgress<SweepProgress>
    {
        public List<SweepProgress> All { get; } = [];

        public void Report(SweepProgress value) => All.Add(value);
    }

    // every result, without times
    static SortedDictionary<string, string> Results(string sweep)
    {
        var results = new SortedDictionary<string, string>(StringComparer.Ordinal);
        foreach (string file in Directory.GetFiles(sweep, "*.json", SearchOption.AllDirectories)
            .Where(file => !file.Contains("step-", StringComparison.Ordinal)))
        {
            var json = JsonNode.Parse(File.ReadAllText(file))!.AsObject();
            json.Remove("environment");
            foreach (string name in new[] { "seconds", "tokensPerSecond" }) json.Remove(name);
            foreach (string list in new[] { "loss", "heldOutLoss" })
                foreach (var point in json[list]?.AsArray() ?? []) point!.AsObject().Remove("seconds");
            results[Path.GetRelativePath(sweep, file)] = json.ToJsonString();
        }
        return results;
    }

    // hides the files of a complete run between its report and the last one
    sealed class Hider(string sweep) : IProgress<SweepProgress>
    {
        string? hidden;

        public List<int> Completed { get; } = [];

        public void Report(SweepProgress value)
        {
            Completed.Add(value.CompletedRuns);
            if (value.Phase != "done") return;
            if (hidden is null)
            {
                hidden = Directory.GetFiles(sweep, "training.json", SearchOption.AllDirectories).Single(file => !file.Contains("step-"));
                File.Move(hidden, $"{hidden}.hidden");
            }
            else if (value.CompletedRuns == value.TotalRuns) File.Move($"{hidden}.hidden", hidden);
        }
    }

    [Fact]
    public void Reports_read_the_files_of_a_complete_run_once()
    {
        var hider = new Hider(folder["hidden"]);
        Assert.True(new Sweep(Options("hidden")).Run(hider).IsComplete);
        Assert.Equal(hider.Completed.Order(), hider.Completed);
        Assert.Equal(4, hider.Completed[^1]);
    }

    [Fact]
    public void A_design_with_a_learning_rate_is_trained_at_it_and_keeps_it_when_sizes_are_matched()
    {
        var options = Options("rates") with { Seeds = [1], Tasks = [], Designs = SweepDesign.MatchSizes(
            [Design("mamba", false), new("attention", Design("attention", true), LearningRate: 0.003)]) };
        var result = new Sweep(options).Run();
        Assert.Equal([0.01, 0.003], result.Runs.Select(run => run.Settings.LearningRate));
        // the run itself: the same design and seed at the rate of the sweep ends elsewhere, and at a common rate of 0.003 at the same loss
        double Loss(double rate) => new Sweep(options with { Folder = folder[$"rate {rate}"],
            Designs = [options.Designs[1] with { LearningRate = null }], Training = options.Training with { LearningRate = rate } })
            .Run().Runs[0].Training!.HeldOutLoss[^1].Loss;
        Assert.Equal(Loss(0.003), result.Runs[1].Training!.HeldOutLoss[^1].Loss);
        Assert.NotEqual(Loss(0.01), result.Runs[1].Training!.HeldOutLoss[^1].Loss);
    }

    [Fact]
    public void A_sweep_trains_and_measures_every_design_with_every_seed_once()
    {
        var lines = new Lines();
        var result = new Sweep(Options("sweep")).Run(lines);
        Assert.True(result.IsComplete);
        Assert.Equal([("attention", 1L), ("mamba", 1), ("attention", 2), ("mamba", 2)],
            result.Runs.Select(run => (run.Settings.Name, run.Settings.Seed)));
        Assert.All(result.Runs, run => Assert.Equal((12, 12 * 64, 5), (run.Training!.Steps, run.Training.Tokens, run.Training.Loss.Count)));
        // the task on the trained model and the trainer's own measurement are over the same tokens
        Assert.All(result.Runs, run => Assert.Equal(run.Training!.HeldOutLoss[^1].Loss, run.Find("held-out loss", "loss")!.Value, 1e-6));
        Assert.Equal(4, lines.All.Count(line => line.Phase == "done"));
        Assert.Equal((4, 4), (lines.All[^1].CompletedRuns, lines.All[^1].TotalRuns));
        Assert.Contains(lines.All, line => line.TimeLeft is not null && line.Training is not null);
        var (values, comparison) = (result.Values("mamba", "held-out loss", "loss"), result.Compare("attention", "mamba", "held-out loss", "loss"));
        Assert.Equal([1, 2], values.Select(value => value.Seed));
        Assert.Equal(values.Average(value => value.Value) - result.Mean("attention", "held-out loss", "loss")!.Value, comparison!.Difference.Value,
            1e-12);

        var again = new Lines();
        var before = Directory.GetFiles(folder["sweep"], "*", SearchOption.AllDirectories).Order()
            .Select(file => (file, File.GetLastWriteTimeUtc(file))).ToArray();
        Assert.True(new Sweep(Options("sweep")).Run(again).IsComplete);
        Assert.Empty(again.All);
        Assert.Equal(before, Directory.GetFiles(folder["sweep"], "*", SearchOption.AllDirectories).Order()
            .Select(file => (file, File.GetLastWriteTimeUtc(file))));
    }

    [Fact]
    public void A_family_can_be_set_and_changed_after_the_runs_are_complete()
    {
        var options = Options("family") with { Seeds = [1], Tasks = [] };
        Assert.All(new Sweep(options).Run().Runs, run => Assert.Null(run.Settings.Family));
        foreach (string family in (string[])["small", "tiny"])
        {
            var lines = new Lines();
            var result = new Sweep(options with { Designs = [.. options.Designs.Select(design => design with { Family = family })] }).Run(lines);
            Assert.Empty(lines.All);
            Assert.All(result.Runs, run => Assert.Equal(family, run.Settings.Family));
            Assert.All(Sweep.Read(folder["family"]).Runs, run => Assert.Equal(family, run.Settings.Family));
        }
    }

    [Fact]
    public void Signs_of_a_name_that_its_folder_does_not_show_can_be_changed_after_the_runs_are_complete()
    {
        var options = Options("named") with { Seeds = [1], Tasks = [], Designs = [new("Mamba 2", Design("x", false))] };
        new Sweep(options).Run();
        var lines = new Lines();
        var result = new Sweep(options with { Designs = [new("mamba-2", Design("x", false))] }).Run(lines);
        Assert.Empty(lines.All);
        Assert.Equal(["mamba-2"], result.Designs);
        Assert.Equal(["mamba-2"], Sweep.Read(folder["named"]).Designs);
    }

    [Fact]
    public void A_run_whose_folder_cannot_be_written_is_not_taken_for_one_that_another_process_has()
    {
        var options = Options("unwritable") with { Seeds = [1], Tasks = [] };
        string run = new Sweep(options).Run().Runs[0].Folder;
        File.Delete(Path.Combine(run, "training.json"));
        Directory.CreateDirectory(Path.Combine(run, ".lock"));
        Assert.ThrowsAny<SystemException>(() => new Sweep(options).Run());
    }

    [Fact]
    public void Progress_shows_days() => Assert.EndsWith(", 1.06:00:05 left",
        new SweepProgress("a, seed 1", "training", 1, 9, null, TimeSpan.FromHours(30) + TimeSpan.FromSeconds(4.7)).ToString());

    /// <summary>Each run of one design was paired with each run of the other, so that one seed counted as four.</summary>
    [Fact]
    public void Runs_of_one_seed_with_other_options_in_the_same_folder_are_not_compared()
    {
        var options = Options("changed") with { Seeds = [1], Tasks = [] };
        new Sweep(options).Run();
        var result = new Sweep(options with { Training = options.Training with { Duration = Duration.Steps(6) } }).Run();
        Assert.Equal(1, result.Compare("attention", "mamba", SweepRun.TrainingTask, "held-out loss")!.Pairs);
        var all = Sweep.Read(folder["changed"]);
        string message = Assert.Throws<InvalidDataException>(() => all.Compare("attention", "mamba", SweepRun.TrainingTask, "held-out loss")).Message;
        foreach (var run in all.Runs.Where(run => run.Settings.Name == "attention"))
            Assert.Contains(Path.GetFileName(run.Folder), message, StringComparison.Ordinal);
        Directory.Delete(all.Runs[0].Folder, true);
        Assert.Single(Sweep.Read(folder["changed"]).Values("attention", SweepRun.TrainingTask, "held-out loss"));
    }

    [Fact]
    public void A_file_of_results_gives_the_same_numbers_and_a_damaged_line_is_named()
    {
        var result = new Sweep(Options("kept") with { Seeds = [1] }).Run();
        string file = folder["results.jsonl"];
        result.WriteFile(file);
        Assert.Equal(2, File.ReadAllLines(file).Length);
        var read = SweepResult.ReadFile(file);
        Assert.True(read.IsComplete);
        Assert.Equal(result.Runs.Select(run => Path.GetFileName(run.Folder)), read.Runs.Select(run => run.Folder));
        Assert.Equal(result.Runs.Select(run => run.Settings), read.Runs.Select(run => run.Settings));
        Assert.Equal(result.Runs.SelectMany(run => run.Training!.Loss), read.Runs.SelectMany(run => run.Training!.Loss));
        Assert.Equal(result.Metrics, read.Metrics);
        File.AppendAllText(file, "{ \"folder\": 3 }\n");
        Assert.Contains("results.jsonl, line 3", Assert.Throws<InvalidDataException>(() => SweepResult.ReadFile(file)).Message);
        Assert.Throws<FileNotFoundException>(() => SweepResult.ReadFile(folder["missing.jsonl"]));
    }

    [Fact]
    public void A_task_that_is_added_is_measured_without_training_again()
    {
        new Sweep(Options("sweep") with { Seeds = [1] }).Run();
        int calls = 0;
        var counted = EvaluationTask.Create("count", (model, _) => new TaskResult("count", "",
            new Metric("parameters", ++calls + 0 * model.VocabularySize)));
        var options = Options("sweep") with { Seeds = [1], Tasks = [new HeldOutTask(heldOut, 16), counted] };
        Assert.False(new Sweep(options).IsComplete);
        var lines = new Lines();
        var result = new Sweep(options).Run(lines);
        Assert.Equal(2, calls);
        Assert.DoesNotContain(lines.All, line => line.Phase == "training");
        Assert.Equal([1.0, 2], result.Runs.Select(run => run.Find("count", "parameters")!.Value));
    }

    [Fact]
    public void A_task_whose_settings_have_changed_is_measured_again()
    {
        SweepOptions With(params EvaluationTask[] tasks) => Options("settings") with { Seeds = [1], Tasks = tasks };
        int calls = 0;
        EvaluationTask Counted(string? settings) =>
            EvaluationTask.Create("count", (_, _) => new("count", "", new Metric("calls", ++calls)), settings);
        double[] Run(EvaluationTask task)
        {
            var result = new Sweep(With(new HeldOutTask(heldOut, 16), task)).Run();
            return [.. result.Runs.Select(run => run.Find("count", "calls")!.Value)];
        }
        Assert.Equal([1.0, 2], Run(Counted(null)));
        // neither unknown settings nor equal ones
        Assert.Equal([1.0, 2], Run(Counted("a")));
        foreach (string file in Directory.GetFiles(folder["settings"], "count-*.json", SearchOption.AllDirectories)) File.Delete(file);
        Assert.Equal([3.0, 4], Run(Counted("a")));
        Assert.Equal([3.0, 4], Run(Counted("a")));
        Assert.Equal([5.0, 6], Run(Counted("b")));
        var (before, after) = (new Sweep(With(new HeldOutTask(heldOut, 16))), new Sweep(With(new HeldOutTask(heldOut, 8))));
        Assert.Equal((true, false), (before.IsComplete, after.IsComplete));
        Assert.NotEqual(before.Run().Runs[0].Find("held-out loss", "loss")!.Value, after.Run().Runs[0].Find("held-out loss", "loss")!.Value);
    }

    [Fact]
    public void A_task_that_needs_no_trained_weights_is_measured_after_the_model_was_deleted()
    {
        var options = Options("deleted") with { Seeds = [1], Tasks = [], KeepModels = false };
        Assert.True(new Sweep(options).Run().IsComplete);
        var cost = new InferenceCostTask(new() { BatchSizes = [1], PromptLength = 8, TotalLengths = [12] });
        var lines = new Lines();
        var result = new Sweep(options with { Tasks = [cost] }).Run(lines);
        Assert.True(result.IsComplete);
        Assert.DoesNotContain(lines.All, line => line.Phase == "training");
        Assert.All(result.Runs, run => Assert.True(run.Find(cost.Name, "cache, 1 x 12")!.Value > 0));
        // a loss does need them
        var error = Assert.Throws<InvalidDataException>(() => new Sweep(options with { Tasks = [cost, new HeldOutTask(heldOut, 16)] }).Run());
        Assert.Contains("the trained model is gone", error.Message);
    }

    [Fact]
    public void A_run_of_a_version_that_lacked_a_setting_of_designs_is_continued()
    {
        var options = Options("sweep") with { Seeds = [1], Designs = [Design("mamba", false)], Tasks = [] };
        string run = Assert.Single(new Sweep(options).Run().Runs).Folder, settings = Path.Combine(run, "run.json");
        var json = JsonNode.Parse(File.ReadAllText(settings))!;
        Assert.True(json["design"]!.AsObject().Remove("embeddingNorm"));
        File.WriteAllText(settings, json.ToJsonString());
        // the name of a folder ends with a hash of the design and of everything else that affects the run
        string design = json["design"]!.ToJsonString(new() { WriteIndented = true, NewLine = "\n" }) + "\n";
        string identity = string.Join('\n', design, json["options"], options.ComputeType, json["data"], json["heldOut"]);
        string mark = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(identity)))[..8];
        string earlier = Path.Combine(Path.GetDirectoryName(run)!, $"mamba-{mark}-seed-1");
        Directory.Move(run, earlier);

        var again = new Sweep(options);
        Assert.True(again.IsComplete);
        Assert.Equal(earlier, Assert.Single(again.Run().Runs).Folder);
        // a run of other settings is not taken for it
        Assert.False(new Sweep(options with { ComputeType = ScalarType.BFloat16 }).IsComplete);
        Assert.False(new Sweep(options with { Designs = [Design("mamba", false) with { EmbeddingNorm = true }] }).IsComplete);
    }

    [Fact]
    public void A_run_of_a_version_that_lacked_a_training_option_is_continued_if_the_option_has_its_default()
    {
        var options = Options("sweep") with { Seeds = [1], Designs = [Design("mamba", false)], Tasks = [] };
        string run = Assert.Single(new Sweep(options).Run().Runs).Folder, settings = Path.Combine(run, "run.json");
        var json = JsonNode.Parse(File.ReadAllText(settings))!;
        string lacking = options.Training.ToString().Replace(", ClipNorm = 1", "", StringComparison.Ordinal);
        Assert.Equal(options.Training.ToString().Length - ", ClipNorm = 1".Length, lacking.Length);
        lacking = lacking.Replace("Seed = 0", "Seed = 1", StringComparison.Ordinal);
        json["options"] = lacking;
        File.WriteAllText(settings, json.ToJsonString());
        string design = json["design"]!.ToJsonString(new() { WriteIndented = true, NewLine = "\n" }) + "\n";
        string identity = string.Join('\n', design, lacking, options.ComputeType, json["data"], json["heldOut"]);
        string mark = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(identity)))[..8];
        string earlier = Path.Combine(Path.GetDirectoryName(run)!, $"mamba-{mark}-seed-1");
        Directory.Move(run, earlier);

        var again = new Sweep(options);
        Assert.True(again.IsComplete);
        Assert.Equal(earlier, Assert.Single(again.Run().Runs).Folder);
        Assert.False(new Sweep(options with { Training = options.Training with { ClipNorm = 3 } }).IsComplete);
        Assert.False(new Sweep(options with { Training = options.Training with { BatchSize = 2 } }).IsComplete);
    }

    /// <summary>All options were part of the identity of a run, so a run began again after a change of the checkpoints to keep.</summary>
    [Fact]
    public void Options_that_change_no_result_start_no_run_again()
    {
        var options = Options("sweep") with { Seeds = [1], Designs = [Design("mamba", false)], Tasks = [] };
        static SweepOptions Changed(SweepOptions options) => options with { Training = options.Training with
        {
            ActivationCheckpointing = true, CudaGraphs = false, AsynchronousCheckpoints = false, ReportEvery = 4, EvaluateEvery = 5,
            CheckpointEvery = 6, KeepLast = 4, KeepBest = false, KeepEvery = 3,
        } };
        using (var source = new CancellationTokenSource())
            Assert.False(new Sweep(options).Run(new StopAfter(2, source), source.Token).IsComplete);
        var lines = new Lines();
        var result = new Sweep(Changed(options)).Run(lines);
        // continued, and the curves keep their intervals
        Assert.True(lines.All[0].Training!.Step > 1);
        var run = Assert.Single(result.Runs);
        Assert.Equal([1, 3, 6, 9, 12], run.Training!.Loss.Select(point => point.Step));
        var straight = new Sweep(options with { Folder = folder["straight"] }).Run().Runs[0].Training!;
        Assert.Equal(straight.HeldOutLoss.Select(point => (point.Step, point.Loss)),
            run.Training.HeldOutLoss.Select(point => (point.Step, point.Loss)));
        Assert.True(new Sweep(options).IsComplete);
        // a run of time makes fewer steps if they are slower
        var timed = options with { Training = options.Training with { Duration = Duration.Time(TimeSpan.FromMilliseconds(1)) } };
        Assert.True(new Sweep(timed).Run().IsComplete);
        Assert.True(new Sweep(timed with { Training = timed.Training with { KeepLast = 5 } }).IsComplete);
        Assert.False(new Sweep(timed with { Training = timed.Training with { ActivationCheckpointing = true } }).IsComplete);
        Assert.False(new Sweep(timed with { Training = timed.Training with { CheckpointEvery = 6 } }).IsComplete);
    }

    [Fact]
    public void Names_that_no_run_has_are_refused_with_those_that_exist()
    {
        var result = new Sweep(Options("names") with { Seeds = [1] }).Run();
        Assert.Equal("second is 'mambo'; expected one of 'attention', 'mamba'. (Parameter 'second')",
            Assert.Throws<ArgumentException>(() => result.Compare("attention", "mambo", "held-out loss", "loss")).Message);
        Assert.Contains("task is 'heldout loss'; expected one of 'training', 'held-out loss'",
            Assert.Throws<ArgumentException>(() => result.Compare("attention", "mamba", "heldout loss", "loss")).Message);
        Assert.Contains("metric is 'los'; expected one of 'loss'.",
            Assert.Throws<ArgumentException>(() => result.Mean("mamba", "held-out loss", "los")).Message);
        Assert.Contains("design is ''; expected one of", Assert.Throws<ArgumentException>(() => result.Values("", "held-out loss", "loss")).Message);
        // nothing is measured yet
        Assert.Null(new SweepResult([.. result.Runs.Select(run => run with { Training = null, Tasks = [] })], false)
            .Compare("attention", "mamba", "held-out loss", "loss"));
        Assert.Null(new SweepResult([], false).Compare("attention", "mamba", "held-out loss", "loss"));
        Assert.Null(new SweepResult([result.Runs[0], result.Runs[1] with { Training = null, Tasks = [] }], false)
            .Compare("attention", "mamba", "held-out loss", "loss"));
    }

    [Theory]
    [InlineData("")]
    [InlineData("[]")]
    [InlineData("{\"design\": 3}")]
    [InlineData("{\"design\": {\"name\": \"\\ud83d\"}}")]
    [InlineData("{")]
    public void A_damaged_folder_of_another_run_stops_no_sweep(string content)
    {
        string other = Path.Combine(folder["sweep"], "runs", "mamba-00000000-seed-1");
        Directory.CreateDirectory(other);
        File.WriteAllText(Path.Combine(other, "run.json"), content);
        Assert.False(new Sweep(Options("sweep") with { Seeds = [1], Designs = [Design("mamba", false)] }).IsComplete);
    }

    [Fact]
    public void A_cancelled_sweep_continues_to_the_same_results()
    {
        new Sweep(Options("straight")).Run();
        for (int stops = 0; !new Sweep(Options("stopped")).IsComplete; stops++)
        {
            Assert.True(stops < 40);
            using var source = new CancellationTokenSource();
            new Sweep(Options("stopped")).Run(new StopAfter(3, source), source.Token);
        }
        Assert.Equal(Results(folder["straight"]), Results(folder["stopped"]));
    }

    sealed class StopAfter(int reports, CancellationTokenSource source) : IProgress<SweepProgress>
    {
        int left = reports;

        public void Report(SweepProgress value)
        {
            if (--left == 0) source.Cancel();
        }
    }

    [Fact]
    public void Folders_of_two_machines_merge()
    {
        new Sweep(Options("whole")).Run();
        new Sweep(Options("first") with { Seeds = [1] }).Run();
        new Sweep(Options("second") with { Seeds = [2] }).Run();
        Sweep.Merge([folder["first"], folder["second"]], folder["both"]);
        Assert.Equal(Results(folder["whole"]), Results(folder["both"]));
        Assert.True(new Sweep(Options("both")).IsComplete);
        Assert.Equal(4, Sweep.Read(folder["both"]).Runs.Count);
        Sweep.Merge([folder["first"]], folder["both"]);
        Assert.Equal(Results(folder["whole"]), Results(folder["both"]));
        Assert.Throws<DirectoryNotFoundException>(() => Sweep.Merge([folder["none"]], folder["both"]));
        // models came along: a new task needs no training
        var options = Options("both") with { Tasks = [EvaluationTask.Create("new", (_, _) => new TaskResult("new", "", new Metric("one", 1)))] };
        Assert.True(new Sweep(options).Run().IsComplete);
    }

    [Fact]
    public void Other_options_are_other_runs_and_a_run_at_work_is_left_out()
    {
        var options = Options("sweep") with { Designs = [Design("attention", true)], Seeds = [1] };
        var plan = new Sweep(options).Run().Runs[0].Folder;
        string other = new Sweep(options with { Training = options.Training with { BatchSize = 2 } }).Run().Runs[0].Folder;
        Assert.NotEqual(plan, other);
        Assert.Equal(2, Sweep.Read(folder["sweep"]).Runs.Count);
        var task = options with { Tasks = [EvaluationTask.Create("new", (_, _) => new TaskResult("new", "", new Metric("one", 1)))] };
        using (new FileStream(Path.Combine(plan, ".lock"), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None))
            Assert.False(new Sweep(task).Run().IsComplete);
        Assert.True(new Sweep(task).Run().IsComplete);
    }

    [Fact]
    public void A_run_that_diverges_is_recorded_and_the_others_continue()
    {
        var options = Options("sweep") with
        {
            Designs = [new("wild", Design("x", true), LearningRate: 1e30), Design("mamba", false)], Seeds = [1], KeepModels = false,
        };
        var result = new Sweep(options).Run();
        Assert.True(result.IsComplete);
        Assert.Contains("not finite", result.Runs[0].Training!.Failure);
        Assert.Null(result.Runs[1].Training!.Failure);
        Assert.NotNull(result.Runs[1].Find("held-out loss", "loss"));
        Assert.All(result.Runs, run => Assert.False(Directory.Exists(Path.Combine(run.Folder, "training"))));
    }

    [Fact]
    public void Sizes_match_and_flops_decide_the_tokens()
    {
        var designs = SweepDesign.MatchSizes([Design("mamba", false), Design("attention", true)], multiple: 1);
        double[] counts = [.. designs.Select(design => (double)design.Design.CountParameters().Total)];
        Assert.Equal(counts[0], counts[1], 0.05 * counts[0]);
        var wide = HybridDesign.Create(64, VocabularySize).WithMamba2(stateSize: 4, headSize: 4).WithFeedForward(FeedForwardSpec.SwiGlu(16)).Depth(2);
        Assert.Contains("design 'wide': ", Assert.Throws<ArgumentException>(() =>
            SweepDesign.MatchSizes([Design("mamba", false), wide.Name("wide").Build()])).Message);
        double flops = 2e6;
        var result = new Sweep(Options("sweep") with { Seeds = [1], TrainingFlops = flops }).Run();
        foreach (var run in result.Runs)
        {
            double tokens = flops / DesignSolver.Measure(run.Settings.Design, DesignMeasure.TrainingFlops, 16);
            Assert.InRange(run.Training!.Tokens, (long)tokens, (long)tokens + 64);
        }
    }

    [Fact]
    public void Doubled_names_are_refused()
    {
        Assert.Contains("'attention' 2 times", Assert.Throws<ArgumentException>(() =>
            new Sweep(Options("s") with { Designs = [Design("attention", true), Design("attention", false)] })).Message);
        Assert.Contains("Seeds holds '1' 2 times", Assert.Throws<ArgumentException>(() => new Sweep(Options("s") with { Seeds = [1, 1] })).Message);
        Assert.Contains("Tasks holds 'training'", Assert.Throws<ArgumentException>(() => new Sweep(Options("s") with { Tasks =
            [EvaluationTask.Create("training", (_, _) => new("training", "", new Metric("one", 1)))] })).Message);
        File.WriteAllText(folder["file"], "");
        Assert.Contains("a file; expected a folder", Assert.Throws<ArgumentException>(() => new Sweep(Options("file"))).Message);
        // one folder for two designs would hold one run for both
        var design = Design("x", true);
        Assert.Contains("the same design as '\u6CE8\u610F' and '\u72B6\u6001'", Assert.Throws<ArgumentException>(() =>
            new Sweep(Options("s") with { Designs = [new("\u6CE8\u610F", design), new("\u72B6\u6001", design)] })).Message);
        Assert.Contains("expected at least 1 design", Assert.ThrowsAny<ArgumentException>(() => new Sweep(Options("s") with { Designs = [] }))
            .Message);
    }

    [Fact]
    public void Decay_branches_are_as_if_trained_alone()
    {
        HybridLanguageModel Create() => Design("attention", true).CreateModel(seed: 1);
        var options = Options("x").Training with { Seed = 3 };
        var branches = new DecayBranchOptions { Folder = folder["wsd"], Steps = [8, 16], WarmUpSteps = 3, DecayShare = 0.25 };
        // stopped in the trunk, and again in a branch
        foreach (int stop in new[] { 2, 7 })
        {
            using var source = new CancellationTokenSource();
            Assert.True(DecayBranches.Run(Create, data, options with { ReportEvery = 1 }, branches, heldOut, new CancelAt(stop, source),
                cancellation: source.Token).Count < 2);
        }
        var found = DecayBranches.Run(Create, data, options, branches, heldOut);
        Assert.Equal([8L, 16], found.Select(branch => branch.Steps));
        foreach (var branch in found)
        {
            using var model = Create();
            using var trainer = new Trainer(model, data, options with
            {
                Duration = Duration.Steps(branch.Steps), Schedule = new TrapezoidSchedule { WarmUp = 3.0 / branch.Steps, CoolDown = 0.25 },
            }, heldOut);
            Assert.Equal(trainer.Run().Final!.Loss, branch.Result.Final!.Loss, 1e-5);
            Assert.Equal(new ScalingPoint(branch.Steps * 64, branch.Result.Final.Loss), branch.Point);
        }
    }

    sealed class CancelAt(long step, CancellationTokenSource source) : IProgress<TrainingProgress>
    {
        public void Report(TrainingProgress value)
        {
            if (value.Step == step) source.Cancel();
        }
    }

    static readonly string Program = Path.GetFullPath(
        Path.Combine(AppContext.BaseDirectory, "../../../../KilledSweep/bin", new DirectoryInfo(AppContext.BaseDirectory).Parent!.Name, "net10.0",
            "KilledSweep.dll"));

    static async Task<bool> RunProcess(string sweep, int killAfterLines, int milliseconds)
    {
        var start = new ProcessStartInfo("dotnet", [Program, sweep]) { RedirectStandardOutput = true, RedirectStandardError = true };
        start.Environment["OMP_NUM_THREADS"] = "1";
        using var process = Process.Start(start)!;
        var errors = process.StandardError.ReadToEndAsync();
        for (int lines = 0; await process.StandardOutput.ReadLineAsync() is not null;)
        {
            if (++lines != killAfterLines) continue;
            await Task.Delay(milliseconds);
            process.Kill();
        }
        await process.WaitForExitAsync();
        Assert.True(process.ExitCode is 0 or 137, $"exit code {process.ExitCode}: {await errors}");
        return process.ExitCode == 0;
    }

    [Fact]
    public async Task A_sweep_killed_at_random_instants_ends_with_equal_results()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux() || OperatingSystem.IsMacOS(), "exit codes of killed processes are those of Unix");
        Assert.True(File.Exists(Program), $"no program '{Program}'; the build of this project makes it");
        Assert.True(await RunProcess(folder["straight"], 0, 0));
        int wanted = Effort.Choose(everyday: 4, full: 20), kills = 0;
        var random = new Random(20261129);
        for (int sweeps = 0; kills < wanted; sweeps++)
        {
            Assert.True(sweeps < wanted, "no process was killed");
            string sweep = folder[$"killed{sweeps}"];
            for (bool finished = false; !finished;)
            {
                finished = await RunProcess(sweep, kills < wanted ? random.Next(1, 16) : 0, random.Next(40));
                if (!finished) kills++;
            }
            Assert.Equal(Results(folder["straight"]), Results(sweep));
        }
    }
}
