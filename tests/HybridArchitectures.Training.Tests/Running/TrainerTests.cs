using HybridArchitectures.Cost;
using HybridArchitectures.Models;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Optimization;
using HybridArchitectures.Training.Running;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Tests.Running;

public sealed class TrainerTests : IDisposable
{
    readonly TokenDataset data = Small.Data();
    readonly TokenDataset heldOut = Small.Data(500, seed: 2);

    public void Dispose()
    {
        data.Dispose();
        heldOut.Dispose();
    }

    sealed class Told(Action<TrainingProgress> act) : IProgress<TrainingProgress>
    {
        public void Report(TrainingProgress value) => act(value);
    }

    sealed class Log : TrainingCallback
    {
        public List<(long Step, double Loss, double Rate, double Norm)> Steps { get; } = [];

        public List<string> Events { get; } = [];

        public Action<TrainingStep>? Act { get; init; }

        public override void OnStep(TrainingStep step)
        {
            Steps.Add((step.Step, step.ReadLoss(), step.LearningRate, step.ReadGradientNorm()));
            Act?.Invoke(step);
        }

        public override void OnProgress(Trainer trainer, TrainingProgress progress) => Events.Add($"progress {progress.Step}");

        public override void OnEvaluation(Trainer trainer, EvaluationPoint evaluation) => Events.Add($"evaluation {evaluation.Step}");

        public override void OnEnd(Trainer trainer, TrainingResult result) => Events.Add($"end {result.Steps}");
    }

    (TrainingResult Result, List<(long Step, double Loss, double Rate, double Norm)> Steps) Train(HybridLanguageModel model, TrainingOptions options)
    {
        var log = new Log();
        using var trainer = new Trainer(model, data, options, heldOut, [log]);
        return (trainer.Run(), log.Steps);
    }

    [Fact]
    public void A_printed_result_says_what_was_trained_and_how_well()
    {
        var result = new TrainingResult(true, 1200, 614_400, TimeSpan.FromSeconds(41.25), [],
            [new(1200, 614_400, TimeSpan.FromSeconds(41), new(2469, 2000, 0))], "runs/a/step-1200", null);
        Assert.Equal("1,200 steps, 614,400 tokens, 41.3 s, held-out loss 1.2345 nats per token, checkpoint runs/a/step-1200", $"{result}");
        Assert.Equal("7 steps, 70 tokens, 1.0 s, cancelled",
            $"{new TrainingResult(false, 7, 70, TimeSpan.FromSeconds(1), [], [], null, null)}");
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Two_runs_of_one_seed_are_bit_equal(bool experts)
    {
        using var first = Small.Model(experts: experts);
        using var second = Small.Model(experts: experts);
        var (a, b) = (Train(first, Small.Options), Train(second, Small.Options));
        Assert.Equal(a.Steps, b.Steps);
        Assert.Equal(a.Result.Final, b.Result.Final);
        Small.AssertBitEqual(first, second);
        using var third = Small.Model(experts: experts);
        Assert.NotEqual(a.Steps, Train(third, Small.Options with { Seed = 6 }).Steps);
    }

    [Theory]
    [InlineData(ScalarType.Float32)]
    [InlineData(ScalarType.BFloat16)]
    public void A_model_learns_what_follows_what(ScalarType compute)
    {
        using var model = Small.Model(compute: compute);
        var result = Train(model, Small.Options with { Duration = Duration.Steps(70), LearningRate = 0.03, ReportEvery = 50 }).Result;
        // three quarters follow from the token before, the rest is even: about 1.5 nats at best, ln 20 = 3.0 at the start
        Assert.InRange(result.History[0].Loss, 2.9, 3.3);
        Assert.InRange(result.Final!.Loss, 1.2, 2.2);
        Assert.Equal(result.Final.Loss / Math.Log(2), result.Final.BitsPerByte!.Value, 1e-9);
        Assert.All(model.Parameters, parameter => Assert.Equal(ScalarType.Float32, parameter.Value.dtype));
    }

    [Theory]
    [InlineData(1, false)]
    [InlineData(3, false)]
    [InlineData(1, true)]
    public void Accumulated_gradients_equal_those_of_the_large_batch(int microBatchRows, bool separateDocuments)
    {
        // documents of unequal length: rows count unequal numbers of targets
        using var documents = Small.Data(2000, starts: [.. Enumerable.Range(0, 250).Select(i => (long)(i * i / 32)).Distinct()]);
        Dictionary<string, double[]> Gradients(int rows)
        {
            using var model = Small.Model();
            using var trainer = new Trainer(
                model, documents, Small.Options with { Duration = Duration.Steps(1), BatchSize = 8, MicroBatchSize = rows,
                    SeparateDocuments = separateDocuments, ClipNorm = null });
            trainer.Run();
            using var scope = NewDisposeScope();
            // Adam's first mean after one step is a tenth of the gradient
            return trainer.OptimizerState.Where(item => item.Key.StartsWith("first."))
                .ToDictionary(item => item.Key, item => item.Value.to(float64).flatten().data<double>().ToArray());
        }
        var (large, small) = (Gradients(0), Gradients(microBatchRows));
        double scale = large.Values.Max(values => values.Max(Math.Abs));
        // float32 sums in another order: a few units in the seventh digit of the largest terms
        foreach (var (name, values) in large)
            for (int i = 0; i < values.Length; i++) Assert.Equal(values[i], small[name][i], scale * 3e-6);
    }

    [Fact]
    public void Blocks_save_their_activations_with_checkpointing_as_long_as_no_gradients_exist()
    {
        int Saved(TrainingOptions options, bool freezes = false)
        {
            using var model = Small.Model();
            if (freezes) model.Parameters[0].Value.requires_grad = false;
            int saved = -1;
            model.Stack.Observer = (_, _) => saved = model.Stack.SavedBlocks;
            using var trainer = new Trainer(model, data, options with { Duration = Duration.Steps(1), ActivationCheckpointing = true });
            trainer.Run();
            Assert.Equal(0, model.Stack.SavedBlocks);
            return saved;
        }
        using var small = Small.Model();
        int blocks = small.Stack.Blocks.Count;
        int free = TrainingMemory.CountFreeBlocks(small.Design, Small.Options.ContextLength, Small.Options.BatchSize, 4, DeviceType.CPU);
        Assert.True(free > 0);
        Assert.Equal(free, Saved(Small.Options));
        Assert.Equal(blocks, Saved(Small.Options with { SavedBlocks = blocks }));
        Assert.Equal(0, Saved(Small.Options with { SavedBlocks = 0 }));
        Assert.Equal(0, Saved(Small.Options with { MicroBatchSize = 2 }));
        Assert.Equal(0, Saved(Small.Options, freezes: true));
        foreach (int count in (int[])[-1, blocks + 1])
            Assert.Contains($"SavedBlocks is {count}", Assert.Throws<ArgumentOutOfRangeException>(
                () => Saved(Small.Options with { SavedBlocks = count })).Message);
        Assert.Contains("SavedBlocks is 1", Assert.Throws<ArgumentException>(() => (Small.Options with { SavedBlocks = 1 }).Check()).Message);
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(true, true)]
    public void Activation_checkpointing_changes_no_bit(bool experts, bool separateDocuments)
    {
        using var documents = Small.Data(2000, starts: [.. Enumerable.Range(0, 250).Select(i => i * 8L)]);
        (HybridLanguageModel, TrainingResult) Run(bool checkpointing, int? savedBlocks = null)
        {
            var model = Small.Model(experts: experts);
            using var trainer = new Trainer(
                model, documents, Small.Options with { Duration = Duration.Steps(4), MicroBatchSize = 3, SeparateDocuments = separateDocuments,
                    ActivationCheckpointing = checkpointing, SavedBlocks = savedBlocks }, heldOut);
            return (model, trainer.Run());
        }
        var ((plain, expected), (again, actual), (partly, third)) = (Run(false), Run(true), Run(true, 1));
        Small.AssertBitEqual(plain, partly);
        Assert.Equal(expected.Final, third.Final);
        partly.Dispose();
        Small.AssertBitEqual(plain, again);
        Assert.Equal(expected.Final, actual.Final);
        Assert.False(again.Stack.ActivationCheckpointing);
        plain.Dispose();
        again.Dispose();
    }

    [Fact]
    public void Separate_documents_train_on_fewer_targets_and_otherwise()
    {
        using var documents = Small.Data(2000, starts: [.. Enumerable.Range(0, 400).Select(i => i * 5L)]);
        using var apart = Small.Model(); using var together = Small.Model();
        using (var trainer = new Trainer(apart, documents, Small.Options with { Duration = Duration.Steps(3), SeparateDocuments = true }, documents))
            trainer.Run();
        using (var trainer = new Trainer(together, documents, Small.Options with { Duration = Duration.Steps(3) }, documents)) trainer.Run();
        Assert.NotEqual(Small.Bytes(apart)["embedding"], Small.Bytes(together)["embedding"]);
        Assert.Equal(1600 - 1, Evaluator.Evaluate(apart, documents, 12, separateDocuments: true).Tokens, 1.0);
    }

    [Fact]
    public void Rates_follow_the_schedule_and_reports_the_steps()
    {
        using var model = Small.Model();
        var log = new Log();
        var reports = new List<TrainingProgress>();
        var options = Small.Options with { Duration = Duration.Steps(10), Schedule = new TrapezoidSchedule { WarmUp = 0.2, CoolDown = 0.5 },
            ReportEvery = 4, EvaluateEvery = 5 };
        using var trainer = new Trainer(model, data, options, heldOut, [log]);
        var result = trainer.Run(new Told(reports.Add));
        double[] factors = [0.5, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2];
        Assert.Equal(factors.Select(factor => Math.Round(0.01 * factor, 12)), log.Steps.Select(step => Math.Round(step.Rate, 12)));
        Assert.Equal(["progress 1", "progress 4", "evaluation 5", "progress 8", "progress 10", "evaluation 10", "end 10"], log.Events);
        Assert.Equal(reports, result.History);
        Assert.Equal(log.Steps[1..4].Average(step => step.Loss), reports[1].Loss, 1e-5);
        Assert.Equal((10, 480, 1.0), (reports[^1].Step, reports[^1].Tokens, reports[^1].Done));
        Assert.True(reports[^1].TokensPerSecond > 0 && reports[^1].TimeLeft == TimeSpan.Zero);
        Assert.True(result is { Completed: true, Steps: 10, HowToGoOn: null, Checkpoint: null });
    }

    [Fact]
    public void The_remaining_time_of_a_run_beyond_all_times_is_unknown()
    {
        using var model = Small.Model();
        using var stop = new CancellationTokenSource();
        var reports = new List<TrainingProgress>();
        var options = Small.Options with { Duration = Duration.Steps(long.MaxValue), ReportEvery = 1 };
        using var trainer = new Trainer(model, data, options, heldOut);
        var result = trainer.Run(new Told(report =>
        {
            reports.Add(report);
            if (report.Step == 2) stop.Cancel();
        }), stop.Token);
        Assert.Equal((false, 2), (result.Completed, result.Steps));
        Assert.All(reports, report => Assert.Null(report.TimeLeft));
        Assert.EndsWith(" tokens/s", $"{reports[^1]}");
    }

    [Fact]
    public void Tokens_are_rounded_up_to_whole_steps()
    {
        using var model = Small.Model();
        Assert.Equal(3, Train(model, Small.Options with { Duration = Duration.Tokens(97) }).Result.Steps);
    }

    [Fact]
    public void A_budget_of_time_ends_the_run_with_its_schedule_run_through()
    {
        using var model = Small.Model();
        var clock = System.Diagnostics.Stopwatch.StartNew();
        var (result, steps) = Train(model, Small.Options with { Duration = Duration.Time(TimeSpan.FromSeconds(4)), EvaluationTokens = 48 });
        Assert.True(result.Completed);
        Assert.InRange(clock.Elapsed.TotalSeconds, 3, 6);
        Assert.True(steps.Count > 5, $"{steps.Count} steps");
        Assert.True(steps[^1].Rate < 0.006 && steps.Max(step => step.Rate) > 0.0095, $"last rate {steps[^1].Rate}");
        Assert.True(steps[0].Rate > 0);
    }

    [Fact]
    public void Steps_leave_no_tensor_behind()
    {
        using var model = Small.Model(experts: true);
        LiveTensors.Settled();
        var counts = new List<long>();
        var log = new Log { Act = _ => counts.Add(Tensor.TotalCount) };
        using var trainer = new Trainer(
            model, data, Small.Options with { Duration = Duration.Steps(200), ContextLength = 6, BatchSize = 2, MicroBatchSize = 1,
                EvaluateEvery = 50, EvaluationTokens = 48, SeparateDocuments = true }, heldOut, [log]);
        trainer.Run();
        // the first evaluation, after step 50, stores what is computed from weights alone
        Assert.True(counts[60..].Max() <= counts[55], $"{counts[55]} tensors at step 56, {counts[60..].Max()} later");
    }

    [Fact]
    public void A_run_under_continuous_garbage_collection_is_bit_equal_to_one_without()
    {
        int steps = Effort.Choose(everyday: 60, full: 500);
        using var calm = Small.Model(experts: true); using var stressed = Small.Model(experts: true);
        var options = Small.Options with { Duration = Duration.Steps(steps), MicroBatchSize = 2, SeparateDocuments = true,
            ActivationCheckpointing = true };
        var expected = Train(calm, options).Steps;
        LiveTensors.Settled();
        var counts = new List<long>();
        using var stop = new CancellationTokenSource();
        var collector = new Thread(() =>
        {
            while (!stop.IsCancellationRequested) { GC.Collect(); GC.WaitForPendingFinalizers(); }
        });
        collector.Start();
        var log = new Log { Act = _ => counts.Add(Tensor.TotalCount) };
        try
        {
            using var trainer = new Trainer(stressed, data, options, heldOut, [log]);
            trainer.Run();
        }
        finally
        {
            stop.Cancel();
            collector.Join();
        }
        Assert.Equal(expected, log.Steps);
        Small.AssertBitEqual(calm, stressed);
        Assert.True(counts[20..].Max() <= counts[10], $"{counts[10]} tensors at step 10, {counts[20..].Max()} later");
    }

    [Theory]
    [InlineData("embedding", "the embedding", true)]
    [InlineData("stack.blocks.0.mixer", "block 1 of 2 (M", true)]
    [InlineData("stack.blocks.1.feed_forward", "block 2 of 2 (T", true)]
    [InlineData("stack.norm", "the final norm", true)]
    [InlineData("stack.blocks.0.mixer", "block 1 of 2 (M", false)]
    public void A_number_that_is_not_finite_stops_the_run_and_names_step_batch_and_layer(string where, string place, bool atOnce)
    {
        using var model = Small.Model(experts: true);
        DataPosition position = default;
        Dictionary<string, byte[]> before = [];
        var log = new Log
        {
            Act = step =>
            {
                if (step.Step != 7) return;
                using var noGrad = no_grad();
                using var scope = NewDisposeScope();
                var poisoned = model.Parameters.First(parameter => parameter.Name.StartsWith(where) && parameter.Value.dim() > 0).Value;
                poisoned.flatten()[0..^0].fill_(float.NaN);
                position = step.Trainer.Position;
                before = Small.Bytes(model);
            },
        };
        using var trainer = new Trainer(
            model, data, Small.Options with { Duration = Duration.Steps(30), ReportEvery = 12 }, callbacks: [log]) { ChecksEveryStep = atOnce };
        var error = Assert.Throws<TrainingDivergedException>(() => trainer.Run());
        Assert.Equal(atOnce ? 8 : 12, log.Steps.Count);     // when it was noticed
        Assert.Equal((8, position), (error.Step, error.Batch));
        Assert.StartsWith(place, error.Location);
        Assert.Contains($"step 8: ", error.Message);
        Assert.Contains($"epoch {position.Epoch}, row {position.Index}", error.Message);
        foreach (var (name, bytes) in Small.Bytes(model)) Assert.Equal(before[name], bytes);
        Assert.All(model.Parameters, parameter => Assert.Null(parameter.Value.grad));
        Assert.Equal((7, position), (trainer.Step, trainer.Position));
    }

    [Fact]
    public void A_failing_backward_pass_leaves_no_gradients_and_the_run_can_continue()
    {
        using var model = Small.Model(); using var undisturbed = Small.Model();
        using var trainer = new Trainer(model, data, Small.Options with { MicroBatchSize = 2 });
        int passes = 0;
        model.Stack.Observer = (index, x) =>
        {
            // the fourth pass is the second of step 2: the first has left its gradients already
            if (index == 0 && ++passes == 4) throw new FormatException("told so");
        };
        Assert.Equal("told so", Assert.Throws<FormatException>(() => trainer.Run()).Message);
        Assert.All(model.Parameters, parameter => Assert.Null(parameter.Value.grad));
        Assert.Equal(1, trainer.Step);
        Assert.Equal(12, trainer.Run().Steps);
        Train(undisturbed, Small.Options with { MicroBatchSize = 2 });
        Small.AssertBitEqual(undisturbed, model);
    }

    [Fact]
    public void Bad_options_and_data_are_refused_by_name()
    {
        using var model = Small.Model();
        void Refused(string? name, TrainingOptions options) =>
            Assert.Equal(name, Assert.ThrowsAny<ArgumentException>(() => new Trainer(model, data, options)).ParamName);
        foreach (double rate in new[] { double.NaN, double.PositiveInfinity, 0, -0.1 })
            Refused("LearningRate", Small.Options with { LearningRate = rate });
        Refused("ContextLength", Small.Options with { ContextLength = 0 });
        Refused("contextLength", Small.Options with { ContextLength = 2000 });
        Refused("BatchSize", Small.Options with { BatchSize = -1 });
        Refused("MicroBatchSize", Small.Options with { MicroBatchSize = -1 });
        Refused("Duration", Small.Options with { Duration = null! });
        Assert.Equal("steps", Assert.Throws<ArgumentOutOfRangeException>(() => Duration.Steps(0)).ParamName);
        Assert.Equal("tokens", Assert.Throws<ArgumentOutOfRangeException>(() => Duration.Tokens(0)).ParamName);
        Assert.Equal("time", Assert.Throws<ArgumentOutOfRangeException>(() => Duration.Time(TimeSpan.Zero)).ParamName);
        Refused("ClipNorm", Small.Options with { ClipNorm = 0 });
        Refused("WarmUp", Small.Options with { Schedule = new CosineSchedule { WarmUp = 2 } });
        Refused("Beta2", Small.Options with { Optimizer = new AdamWOptions { Beta2 = 1 } });
        Refused("ReportEvery", Small.Options with { ReportEvery = 0 });
        Refused("KeepLast", Small.Options with { KeepLast = 0 });
        Refused("Folder", Small.Options with { CheckpointEvery = 5 });
        Refused("Folder", Small.Options with { Folder = "" });
        using var foreign = TokenDataset.FromTokens(new int[100], Small.VocabularySize + 1);
        Assert.Contains("vocabulary size of 21", Assert.Throws<ArgumentException>(() => new Trainer(model, foreign, Small.Options)).Message);
        Assert.Contains("heldOut", Assert.Throws<ArgumentException>(() => new Trainer(model, data, Small.Options, foreign)).Message);
    }
}
