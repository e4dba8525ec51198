using HybridArchitectures.Conversion;
using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using HybridArchitectures.Training.Conversion;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Optimization;
using HybridArchitectures.Training.Running;
using HybridArchitectures.Training.Tests.Running;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Tests.Conversion;

public sealed class LayerMatchingTests : IDisposable
{
    readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    static readonly Dictionary<string, Func<AttentionSpec, MixerSpec>> mixers = new()
    {
        ["Mamba-2"] = ConvertedMixers.Mamba2, ["gated delta"] = ConvertedMixers.GatedDelta, ["Kimi delta"] = ConvertedMixers.KimiDelta,
        ["lightning"] = ConvertedMixers.LightningAttention, ["RWKV-7"] = ConvertedMixers.Rwkv7,
    };

    public static TheoryData<string> MixerNames => [.. mixers.Keys];

    static HybridLanguageModel Teacher(long seed = 1, int width = 16, Device? device = null) =>
        HybridDesign.Create(width, Small.VocabularySize).WithAttention(heads: 2)
        .WithFeedForward(FeedForwardSpec.SwiGlu(24)).Depth(3).Build().CreateModel(device: device, seed: seed);

    static HybridLanguageModel Convert(HybridLanguageModel teacher) =>
        teacher.Convert(teacher.Design.Convert([1, 3], ConvertedMixers.Mamba2)).Model;

    static TokenBatch Batch(TokenDataset data, bool separate = false) =>
        data.OpenReader(new TrainingReaderOptions(10, Seed: 3, SeparateDocuments: separate)).ReadBatch(2);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void The_loss_is_the_sum_of_the_relative_errors_of_the_replaced_layers(bool separate)
    {
        using var teacher = Teacher();
        using var model = Convert(teacher);
        using var data = Small.Data(200, starts: [0, 7, 50, 53]);
        using var batch = Batch(data, separate);
        using var scope = NewDisposeScope();
        using var context = new SequenceContext(batch.Layout);
        var loss = new LayerMatching(teacher).Compute(model, batch, context);
        double expected = RelativeError(teacher, model, batch, 0) + RelativeError(teacher, model, batch, 2);
        Assert.Equal(expected, loss.Total.item<float>(), 1e-4 * expected);
        Assert.Equal(expected / 2, loss.CrossEntropy.item<float>(), 1e-4 * expected);
    }

    // mixers that differ in their chunk size alone compute the same
    [Fact]
    public void A_replaced_mixer_reads_the_values_of_a_layer_that_was_not()
    {
        var mixer = new Rwkv7Spec { Heads = 2, ValueRank = 3, ChunkSize = 4 };
        using var teacher = HybridDesign.Create(16, Small.VocabularySize).WithMixer(mixer).WithAttention(heads: 2)
            .WithFeedForward(FeedForwardSpec.SwiGlu(24)).Pattern("WTW").Build().CreateModel(seed: 1);
        using var model = teacher.Convert(teacher.Design.Convert([3], mixer with { ChunkSize = 8 })).Model;
        using var data = Small.Data(200);
        using var batch = Batch(data);
        using var scope = NewDisposeScope();
        using var context = new SequenceContext(batch.Layout);
        var loss = new LayerMatching(teacher).Compute(model, batch, context).Total;
        Assert.True(loss.item<float>() < 1e-8, $"{loss.item<float>()}");
        loss.backward();
        Assert.All(model.Parameters, parameter =>
            Assert.Equal(parameter.Name.StartsWith("stack.blocks.2.mixer.", StringComparison.Ordinal), parameter.Value.grad is not null));
    }

    static double RelativeError(HybridLanguageModel teacher, HybridLanguageModel model, TokenBatch batch, int block)
    {
        using var noGrad = no_grad();
        Tensor? stream = null;
        teacher.Stack.Observer = (index, x) =>
        {
            if (index == block - 1) stream = x.clone().DetachFromDisposeScope();
        };
        using (var pass = new SequenceContext(batch.Layout)) teacher.Hidden(batch.Ids, pass);
        teacher.Stack.Observer = null;
        using var given = stream!;
        var normed = given * given.mul(given).mean([-1], true).add(1e-5).rsqrt() * teacher.State[$"stack.blocks.{block}.mixer_norm.weight"];
        Tensor Mix(HybridLanguageModel one)
        {
            using var pass = new SequenceContext(batch.Layout);
            one.Hidden(batch.Ids, pass);         // begins the pass
            return one.Stack.Blocks[block].Mixer!.Forward(normed, pass, null);
        }
        var (found, wanted) = (Mix(model), Mix(teacher));
        return ((found - wanted).pow(2).sum() / wanted.pow(2).sum()).item<float>();
    }

    Trainer New(HybridLanguageModel model, TrainingObjective objective, TokenDataset data, string run, int steps,
        long checkpointEvery = 0, params TrainingCallback[] more)
    {
        var options = new TrainingOptions
        {
            LearningRate = 1e-2, ContextLength = 10, BatchSize = 4, MicroBatchSize = 2, Duration = Duration.Steps(steps),
            CheckpointEvery = checkpointEvery, Folder = folder[run], Schedule = new TrapezoidSchedule { WarmUp = 0.2, CoolDown = 0.5 },
        };
        return new(model, data, options, callbacks: [objective, .. more]);
    }

    // the process dies in this step
    sealed class Death(long step) : TrainingCallback
    {
        public override void OnStep(TrainingStep done)
        {
            if (done.Step == step) throw new InvalidOperationException("killed");
        }
    }

    [Theory]
    [InlineData("matching")]
    [InlineData("distillation")]
    public void A_run_that_dies_continues_bit_for_bit(string kind)
    {
        using HybridLanguageModel teacher = Teacher(), straight = Convert(teacher), dying = Convert(teacher);
        using var data = Small.Data(400);
        TrainingObjective Objective() => kind == "matching" ? new LayerMatching(teacher) : new Distillation(teacher, 1, 2);
        using (var trainer = New(straight, Objective(), data, "straight", 8)) Assert.True(trainer.Run().Completed);
        using (var trainer = New(dying, Objective(), data, "dying", 8, 2, new Death(5)))
            Assert.Equal("killed", Assert.Throws<InvalidOperationException>(() => trainer.Run()).Message);
        using var resumed = Trainer.Resume(folder["dying"], data, callbacks: [Objective()]);
        using var model = resumed.Model;
        Assert.Equal(4, resumed.Step);
        resumed.Run();
        foreach (var (name, value) in straight.State)
            Assert.Equal(TensorMemory.ToArray<float>(value), TensorMemory.ToArray<float>(model.State[name]));
    }

    [Fact]
    public void Only_the_replaced_mixers_learn_and_their_error_falls()
    {
        using var teacher = Teacher();
        using var model = Convert(teacher);
        using var data = Small.Data(400);
        var before = model.State.ToDictionary(item => item.Key, item => TensorMemory.ToArray<float>(item.Value));
        using var trainer = New(model, new LayerMatching(teacher), data, "run", 60);
        var history = trainer.Run().History;
        Assert.True(history[^1].Loss < history[0].Loss, $"{history[0].Loss} before, {history[^1].Loss} after");
        foreach (var (name, value) in model.State)
        {
            bool isReplaced = name.Contains(".0.mixer.", StringComparison.Ordinal) || name.Contains(".2.mixer.", StringComparison.Ordinal);
            Assert.Equal((name, !isReplaced), (name, before[name].AsSpan().SequenceEqual(TensorMemory.ToArray<float>(value))));
        }
        Assert.All(teacher.Parameters, parameter => Assert.Null(parameter.Value.grad));
    }

    [Fact]
    public void A_conversion_is_matched_and_distilled() => Convert("RWKV-7", CPU);

    [Theory, MemberData(nameof(MixerNames))]
    [Trait("device", "cuda")]
    public void A_conversion_on_a_GPU_is_that_on_the_CPU_matched_and_distilled(string mixer)
    {
        Assert.SkipUnless(cuda.is_available(), "no CUDA device: no model was converted on a GPU");
        backends.cuda.matmul.allow_tf32 = false;
        Convert(mixer, CUDA);
    }

    // statistics, weights and logits equal those on the CPU; both stages learn
    void Convert(string mixer, Device device)
    {
        using HybridLanguageModel host = Teacher(), teacher = Teacher(device: device);
        // a new model hardly tells tokens apart
        using (NewDisposeScope())
        using (no_grad())
        {
            manual_seed(6);
            foreach (var (name, value) in host.State) teacher.State[name].copy_(value.add_(randn_like(value) * 0.3));
        }
        using var data = Small.Data(400);
        using var batch = Batch(data);
        var design = host.Design.Convert([1, 3], mixers[mixer]);
        using var ids = batch.Ids.to(device);
        using var expected = host.Convert(design, new() { Statistics = AttentionStatistics.Measure(host, batch.Ids), Seed = 4 }).Model;
        HybridLanguageModel Converted() =>
            teacher.Convert(design, new() { Statistics = AttentionStatistics.Measure(teacher, ids), Seed = 4 }).Model;
        using HybridLanguageModel model = Converted(), distilled = Converted();
        Assert.Equal(device.type, model.Parameters.First().Value.device_type);
        using (NewDisposeScope())
        using (no_grad())
        {
            foreach (var (name, value) in expected.State)
                Assert.True((model.State[name].cpu() - value).abs().max().item<float>() <= 1e-5, name);
            Assert.True((model.Forward(ids).cpu() - expected.Forward(batch.Ids)).abs().max().item<float>() <= 1e-4);
        }
        Learns(model, new LayerMatching(teacher), data);
        Learns(distilled, new Distillation(teacher, 1, 2), data);
    }

    void Learns(HybridLanguageModel model, TrainingObjective objective, TokenDataset data)
    {
        using var batch = data.OpenReader(new TrainingReaderOptions(10, Seed: 3)).ReadBatch(8, model.Device);
        double Loss()
        {
            using var scope = NewDisposeScope();
            using var noGrad = no_grad();
            using var context = new SequenceContext(batch.Layout);
            return objective.Compute(model, batch, context).Total.item<float>();
        }
        double before = Loss();
        using var trainer = New(model, objective, data, objective.GetType().Name, 20);
        trainer.Run();
        Assert.True(Loss() is var after && after < before, $"{objective.Description}: {before} before, {after} after");
    }

    [Fact]
    public void What_does_not_fit_is_refused_by_name()
    {
        using HybridLanguageModel teacher = Teacher(), wide = Teacher(1, 32);
        using var data = Small.Data(200);
        using var batch = Batch(data);
        using var context = new SequenceContext(batch.Layout);
        void Refused(HybridLanguageModel given, string text)
        {
            var refusal = Assert.Throws<ArgumentException>(() => new LayerMatching(given).Compute(teacher, batch, context));
            Assert.Equal("teacher", refusal.ParamName);
            Assert.Contains(text, refusal.Message, StringComparison.Ordinal);
        }
        Refused(teacher, "teacher has the mixers of the model, TTT; expected a model from which it was converted");
        Refused(wide, "teacher has width 32 and 3 blocks; expected width 16 and 3 blocks");
        Assert.Equal("teacher", Assert.Throws<ArgumentNullException>(() => new LayerMatching(null!)).ParamName);
    }
}
