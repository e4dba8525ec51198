using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Optimization;
using HybridArchitectures.Training.Running;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Tests.Running;

public sealed class CapturedStepTests : IDisposable
{
    readonly TokenDataset data = Small.Data();

    public void Dispose() => data.Dispose();

    [Fact]
    public void Steps_that_cannot_be_captured_are_refused_with_the_reason()
    {
        using var scope = NewDisposeScope();
        using var model = Small.Model();
        string Reason(TrainingOptions options) => CapturedStep.Refusal(model, options, null)!;
        Assert.Contains("CudaGraphs is false", Reason(Small.Options with { CudaGraphs = false }));
        Assert.Contains("the model is on cpu", Reason(Small.Options));
        using var trainer = new Trainer(model, data, Small.Options with { Duration = Duration.Steps(2) });
        trainer.Run();
        Assert.Equal(0, trainer.CapturedNodes);
    }

    [Theory]
    [Trait("device", "cuda")]
    [InlineData(ScalarType.Float32, false, 0), InlineData(ScalarType.BFloat16, false, 0), InlineData(ScalarType.BFloat16, true, 0)]
    // passes of three rows and of one
    [InlineData(ScalarType.Float32, false, 3), InlineData(ScalarType.BFloat16, true, 3)]
    public void Captured_steps_equal_direct_ones_to_the_bit(ScalarType type, bool muon, int rowsPerPass)
    {
        Assert.SkipUnless(cuda.is_available(), "no CUDA device: steps were not captured");
        using var scope = NewDisposeScope();
        var options = Small.Options with { Duration = Duration.Steps(20), ContextLength = 64, MicroBatchSize = rowsPerPass };
        if (muon) options = options with { Optimizer = new MuonOptions() };
        using var direct = Small.Model(compute: type, device: CUDA);
        TrainingResult expected;
        using (var trainer = new Trainer(direct, data, options with { CudaGraphs = false }))
        {
            expected = trainer.Run();
            Assert.Equal(0, trainer.CapturedNodes);
        }
        using var captured = Small.Model(compute: type, device: CUDA);
        using (var trainer = new Trainer(captured, data, options))
        {
            var result = trainer.Run();
            Assert.True(trainer.CapturedNodes > 0, trainer.CaptureFailure);
            Assert.Equal(expected.History.Select(report => (report.Loss, report.GradientNorm)),
                result.History.Select(report => (report.Loss, report.GradientNorm)));
        }
        Small.AssertBitEqual(direct, captured);
    }

    [Theory]
    [Trait("device", "cuda")]
    [InlineData(true), InlineData(false)]
    public void Runs_on_a_GPU_learn(bool graphs)
    {
        Assert.SkipUnless(cuda.is_available(), "no CUDA device: no model was trained on a GPU");
        using var scope = NewDisposeScope();
        using var model = Small.Model(compute: ScalarType.BFloat16, device: CUDA);
        using var trainer = new Trainer(model, data, Small.Options with { Duration = Duration.Steps(100), CudaGraphs = graphs });
        var history = trainer.Run().History;
        Assert.True(history[^1].Loss < history[0].Loss - 0.5, $"{history[0].Loss} -> {history[^1].Loss}");
    }

    [Fact]
    [Trait("device", "cuda")]
    public void A_captured_run_that_was_interrupted_continues_to_the_bit()
    {
        Assert.SkipUnless(cuda.is_available(), "no CUDA device: steps were not captured");
        using var folder = new TemporaryFolder();
        using var scope = NewDisposeScope();
        var options = Small.Options with { Duration = Duration.Steps(16), Folder = folder["run"] };
        using var whole = Small.Model(device: CUDA);
        using (var trainer = new Trainer(whole, data, options with { Folder = null })) trainer.Run();
        using (var first = Small.Model(device: CUDA))
        {
            using var stop = new CancellationTokenSource();
            using var trainer = new Trainer(first, data, options, callbacks: [new StopAt(8, stop)]);
            Assert.False(trainer.Run(cancellation: stop.Token).Completed);
        }
        using var resumed = Trainer.Resume(options.Folder!, data, device: CUDA);
        using var model = resumed.Model;
        resumed.Run();
        Assert.True(resumed.CapturedNodes > 0, resumed.CaptureFailure);
        Small.AssertBitEqual(whole, model);
    }

    [Theory]
    [Trait("device", "cuda")]
    [MemberData(nameof(Changes))]
    public void A_captured_run_sees_what_a_callback_changes(string name, int captures)
    {
        Assert.SkipUnless(cuda.is_available(), "no CUDA device: steps were not captured");
        using var scope = NewDisposeScope();
        var options = Small.Options with { Duration = Duration.Steps(24), ContextLength = 64, ReportEvery = 1 };
        var observed = new List<int>();
        (Models.HybridLanguageModel Model, TrainingResult Result, int Captures) Run(bool graphs)
        {
            observed.Clear();
            var model = Small.Model(compute: ScalarType.BFloat16, device: CUDA);
            using var trainer = new Trainer(model, data, options with { CudaGraphs = graphs }, callbacks: [new ChangeAt(name, observed)]);
            var result = trainer.Run();
            Assert.Null(trainer.CaptureFailure);
            return (model, result, trainer.Captures);
        }
        var direct = Run(graphs: false);
        int seen = observed.Count;
        var captured = Run(graphs: true);
        using (direct.Model)
        using (captured.Model)
        {
            Assert.Equal(captures, captured.Captures);
            Assert.Equal(seen, observed.Count);
            Assert.Equal(direct.Result.History.Select(report => (report.Loss, report.GradientNorm)),
                captured.Result.History.Select(report => (report.Loss, report.GradientNorm)));
            Small.AssertBitEqual(direct.Model, captured.Model);
        }
    }

    // what changes, and how often a run captures its step
    public static TheoryData<string, int> Changes => new()
    {
        { "values", 1 }, { "frozen", 2 }, { "observer", 1 }, { "observer before the capture", 1 }, { "gradient", 1 }, { "checkpointing", 1 },
    };

    /// <summary>Changes the model of a run, mostly after the step was captured, and once before.</summary>
    sealed class ChangeAt(string name, List<int> observed) : TrainingCallback
    {
        public override void OnStep(TrainingStep step)
        {
            var model = step.Trainer.Model;
            using var scope = NewDisposeScope();
            switch (name, step.Step)
            {
                case ("values", 12):
                    using (no_grad())
                        foreach (var parameter in model.Parameters) parameter.Value.mul_(Scalars.From(0.5));
                    break;
                case ("frozen", 12):
                    model.Parameters[^1].Value.requires_grad = false;
                    break;
                case ("observer", 12) or ("observer before the capture", 1):
                    model.Stack.Observer = (block, _) => observed.Add(block);
                    break;
                case ("observer", 14) or ("observer before the capture", 2):
                    model.Stack.Observer = null;
                    break;
                case ("gradient", 12):
                    Autograd.Backward(model.Loss(step.Batches[0].Ids, step.Batches[0].Targets).Total);
                    break;
                case ("checkpointing", 12 or 14):
                    model.Stack.ActivationCheckpointing = step.Step == 12;
                    break;
            }
        }
    }

    sealed class StopAt(long step, CancellationTokenSource stop) : TrainingCallback
    {
        public override void OnStep(TrainingStep current)
        {
            if (current.Step == step) stop.Cancel();
        }
    }
}
