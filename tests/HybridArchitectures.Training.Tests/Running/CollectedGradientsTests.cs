using HybridArchitectures.Design;
using HybridArchitectures.Kernels;
using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Optimization;
using HybridArchitectures.Training.Running;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Tests.Running;

/// <summary>
/// Compares runs that keep the gradients of experts in bfloat16 with runs in which libtorch casts them. A loss that is computed with the default
/// options does not collect gradients.
/// </summary>
public sealed class CollectedGradientsTests : IDisposable
{
    readonly TemporaryFolder folder = new();
    readonly TokenDataset data = Small.Data();

    public void Dispose()
    {
        data.Dispose();
        folder.Dispose();
    }

    static HybridLanguageModel Model(Device? device = null) => HybridDesign.Create(16, Small.VocabularySize).WithAttention(2, 1)
        .WithFeedForward(FeedForwardSpec.MixtureOfExperts(3, 1, 16)).Pattern("TT").Build().CreateModel(ScalarType.BFloat16, device, seed: 1);

    sealed class Loss(bool collects) : TrainingObjective
    {
        public override string Description => "the loss of the model";

        /// <summary>Gets the types of the gradients of the experts in the parameters, by step; null where there is none.</summary>
        public List<ScalarType?> InParameters { get; } = [];

        public override ModelLoss Compute(HybridLanguageModel model, TokenBatch batch, SequenceContext context)
        {
            using var options = collects ? null : OperatorOptions.Use(new());
            return model.Loss(batch.Ids, batch.Targets, context, batch.Weights);
        }

        public override void OnSpike(Trainer trainer, TrainingSpike spike)
        {
            using var scope = NewDisposeScope();
            InParameters.Add(trainer.Model.Parameters.First(item => item.Name.EndsWith(".up", StringComparison.Ordinal)).Value.grad?.dtype);
        }
    }

    static TrainingOptions Options(string name) => name switch
    {
        "adamw" => Small.Options,
        "clipped" => Small.Options with { ClipNorm = 0.05 },
        "unclipped" => Small.Options with { ClipNorm = null },
        "muon" => Small.Options with { Optimizer = new MuonOptions(), ClipNorm = 0.05 },
        "checkpointing" => Small.Options with { ActivationCheckpointing = true },
        // nearly every step after the first four is a spike
        "skipping" => Small.Options with { SpikeGuard = new SpikeGuard { Window = 4, Deviations = 1e-6, MaxConsecutiveSkips = 100 } },
        "passes" => Small.Options with { MicroBatchSize = 2 },
        _ => throw new ArgumentOutOfRangeException(nameof(name)),
    };

    (Dictionary<string, byte[]> State, object[] History, Loss Objective) Train(TrainingOptions options, bool collects, Device? device = null)
    {
        using var scope = NewDisposeScope();
        using var model = Model(device);
        var objective = new Loss(collects);
        using var trainer = new Trainer(model, data, options, callbacks: [objective]);
        var result = trainer.Run();
        var state = Small.Bytes(model);
        foreach (var (name, value) in trainer.OptimizerState) state.Add("optimizer." + name, value.cpu().bytes.ToArray());
        return (state, [.. result.History.Select(item => (item.Step, item.Loss, item.GradientNorm)), trainer.SkippedSteps], objective);
    }

    [Theory]
    [InlineData("adamw"), InlineData("clipped"), InlineData("unclipped"), InlineData("muon"), InlineData("checkpointing"), InlineData("skipping"),
        InlineData("passes")]
    public void Parameters_optimizer_and_norms_have_the_same_bits(string name) => Compare(name, CPU);

    [Theory]
    [Trait("device", "cuda")]
    [InlineData("clipped"), InlineData("unclipped"), InlineData("muon"), InlineData("checkpointing"), InlineData("skipping"), InlineData("passes")]
    public void They_have_the_same_bits_on_a_GPU(string name)
    {
        Assert.SkipUnless(cuda.is_available(), "no CUDA device: no gradients were collected there");
        Compare(name, CUDA);
    }

    void Compare(string name, Device device)
    {
        var expected = Train(Options(name), collects: false, device);
        var own = Train(Options(name), collects: true, device);
        Assert.Equal(expected.History, own.History);
        Assert.Equal(expected.State.Keys.Order(), own.State.Keys.Order());
        foreach (var (key, bytes) in expected.State) Assert.True(bytes.AsSpan().SequenceEqual(own.State[key]), $"'{key}' differs");
        if (name != "skipping") return;
        Assert.NotEmpty(own.Objective.InParameters);
        Assert.All(expected.Objective.InParameters, type => Assert.Equal(ScalarType.Float32, type));
        Assert.All(own.Objective.InParameters, Assert.Null);
    }

    [Fact]
    public void A_resumed_run_has_the_bits_of_an_uninterrupted_one()
    {
        var options = Small.Options with { CheckpointEvery = 5, KeepLast = 10, Folder = folder["run"] };
        using var straight = Model();
        using (var trainer = new Trainer(straight, data, options)) trainer.Run();
        foreach (string step in (string[])["step-00000010", "step-00000012"]) Directory.Delete(folder[$"run/{step}"], recursive: true);
        using var resumed = Trainer.Resume(folder["run"], data);
        using var model = resumed.Model;
        Assert.Equal(5, resumed.Step);
        resumed.Run();
        Small.AssertBitEqual(straight, model);
    }

    [Fact]
    public void A_step_that_is_not_finite_changes_nothing()
    {
        using var model = Model();
        var before = Parameters(model);
        model.Stack.Observer = (index, x) =>
        {
            using var noGrad = no_grad();
            if (index == 0) x.mul_(tensor(float.NaN));
        };
        using var trainer = new Trainer(model, data, Small.Options);
        Assert.Throws<TrainingDivergedException>(() => trainer.Run());
        model.Stack.Observer = null;
        foreach (var (name, bytes) in Parameters(model)) Assert.True(bytes.AsSpan().SequenceEqual(before[name]), $"'{name}' differs");
    }

    static Dictionary<string, byte[]> Parameters(HybridLanguageModel model) =>
        model.Parameters.ToDictionary(item => item.Name, item => item.Value.detach().bytes.ToArray());
}
