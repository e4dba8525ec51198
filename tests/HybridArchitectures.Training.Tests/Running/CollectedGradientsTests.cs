using HybridArchitectures.Design;
using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Optimization;
using HybridArchitectures.Training.Running;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Tests.Running;

/// <summary>
/// Compares runs that keep the gradients of experts in bfloat16, and add the gradient of the embedding to that of the head in place, with runs in
/// which libtorch does both. A loss that is computed with the default options does not collect gradients.
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

    // more rows than tokens of a step
    static HybridLanguageModel Model(Device? device = null, ScalarType compute = ScalarType.BFloat16) => HybridDesign.Create(16, 512)
        .WithAttention(2, 1).WithFeedForward(FeedForwardSpec.MixtureOfExperts(3, 1, 16)).Pattern("TT").Build().CreateModel(compute, device, seed: 1);

    sealed class Loss(bool collects, string watched) : TrainingObjective
    {
        public override string Description => "the loss of the model";

        /// <summary>Gets the types of the gradients of a watched parameter, by spike; null where there is none.</summary>
        public List<ScalarType?> AtSpikes { get; } = [];

        /// <summary>Gets whether passes were collected.</summary>
        public HashSet<bool> Collected { get; } = [];

        public override ModelLoss Compute(HybridLanguageModel model, TokenBatch batch, SequenceContext context)
        {
            using var options = collects ? null : OperatorOptions.Use(new());
            Collected.Add(OperatorOptions.Current.Gradients is not null);
            // as on a GPU
            if (OperatorOptions.Current.Gradients is { } gradients) gradients.KeepsNarrow = true;
            return model.Loss(batch.Ids, batch.Targets, context, batch.Weights);
        }

        public override void OnSpike(Trainer trainer, TrainingSpike spike)
        {
            using var scope = NewDisposeScope();
            AtSpikes.Add(trainer.Model.Parameters.First(item => item.Name.EndsWith(watched, StringComparison.Ordinal)).Value.grad?.dtype);
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
        "skipping" or "float32" => Small.Options with { SpikeGuard = new SpikeGuard { Window = 4, Deviations = 1e-6, MaxConsecutiveSkips = 100 } },
        "passes" => Small.Options with { MicroBatchSize = 2 },
        _ => throw new ArgumentOutOfRangeException(nameof(name)),
    };

    (Dictionary<string, byte[]> State, object[] History, Loss Objective) Train(string name, bool collects, Device device)
    {
        using var scope = NewDisposeScope();
        bool isWide = name == "float32";
        using var model = Model(device, isWide ? ScalarType.Float32 : ScalarType.BFloat16);
        var objective = new Loss(collects, isWide ? "embedding" : ".up");
        using var trainer = new Trainer(model, data, Options(name), callbacks: [objective]);
        var result = trainer.Run();
        var state = Small.Bytes(model);
        foreach (var (key, value) in trainer.OptimizerState) state.Add("optimizer." + key, value.cpu().bytes.ToArray());
        return (state, [.. result.History.Select(item => (item.Step, item.Loss, item.GradientNorm)), trainer.SkippedSteps], objective);
    }

    [Theory]
    [InlineData("adamw"), InlineData("clipped"), InlineData("unclipped"), InlineData("muon"), InlineData("checkpointing"), InlineData("skipping"),
        InlineData("passes"), InlineData("float32")]
    public void Parameters_optimizer_and_norms_have_the_same_bits(string name) => Compare(name, CPU);

    [Theory]
    [Trait("device", "cuda")]
    [InlineData("clipped"), InlineData("unclipped"), InlineData("muon"), InlineData("checkpointing"), InlineData("skipping"), InlineData("passes"),
        InlineData("float32")]
    public void They_have_the_same_bits_on_a_GPU(string name)
    {
        Assert.SkipUnless(cuda.is_available(), "no CUDA device: no gradients were collected there");
        Compare(name, CUDA);
    }

    void Compare(string name, Device device)
    {
        var expected = Train(name, collects: false, device);
        var own = Train(name, collects: true, device);
        Assert.Equal(expected.History, own.History);
        Assert.Equal(expected.State.Keys.Order(), own.State.Keys.Order());
        foreach (var (key, bytes) in expected.State) Assert.True(bytes.AsSpan().SequenceEqual(own.State[key]), $"'{key}' differs");
        Assert.Equal([false], expected.Objective.Collected);
        Assert.Equal([name != "passes"], own.Objective.Collected);
        Assert.Equal(name is "skipping" or "float32", own.Objective.AtSpikes.Count > 0);
        Assert.All(own.Objective.AtSpikes, type => Assert.Equal(ScalarType.Float32, type));
    }

    [Theory]
    [Trait("device", "cuda")]
    [InlineData(false), InlineData(true)]
    public void Copies_of_weights_are_kept_without_checkpointing_alone(bool checkpointing)
    {
        Assert.SkipUnless(cuda.is_available(), "no CUDA device: no copies were kept there");
        using var model = Small.Model(compute: ScalarType.BFloat16, device: CUDA);
        using var trainer = new Trainer(model, data, Small.Options with { ActivationCheckpointing = checkpointing, CudaGraphs = false });
        trainer.Run();
        var weight = model.Parameters.First(item => item.Name.EndsWith("down.weight", StringComparison.Ordinal)).Value;
        Assert.Equal(checkpointing, WeightCopies.Find(weight) is null);
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
