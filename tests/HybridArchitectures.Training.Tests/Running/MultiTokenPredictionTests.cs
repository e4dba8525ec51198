using HybridArchitectures.Adapters;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Design;
using HybridArchitectures.Generation;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Optimization;
using HybridArchitectures.Training.Running;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Tests.Running;

public sealed class MultiTokenPredictionTests : IDisposable
{
    const int Length = 7;

    readonly TemporaryFolder folder = new();
    readonly TorchSharp.DisposeScope scope = NewDisposeScope();

    public void Dispose()
    {
        scope.Dispose();
        folder.Dispose();
    }

    // rows of two documents, of which the second has padding after it, with a target that does not count and weights
    static GeneratedData Documents => new(Small.VocabularySize, "documents", (random, row) =>
    {
        row.Length = Length - 1;
        var documents = row.UseDocuments();
        for (int i = 0; i < Length; i++)
        {
            row.Ids[i] = random.Next(Small.VocabularySize);
            documents[i] = i < 3 ? 0 : 1;
        }
        for (int i = 0; i + 1 < row.Length; i++) row.Targets[i] = i is 2 ? TrainingRow.NoTarget : row.Ids[i + 1];
        row.UseWeights()[4] = 0.25f;
    });

    static TokenBatch Batch(int rows, long seed = 3) => Documents.OpenReader(new TrainingReaderOptions(Length, seed)).ReadBatch(rows);

    // the sum over positions whose next two tokens are in the same document, by the weights of the second ones
    static double Formula(HybridLanguageModel model, PredictionHead head, TokenBatch batch)
    {
        using var noGrad = no_grad();
        double sum = 0, all = 0;
        for (int row = 0; row < batch.Ids.size(0); row++)
        {
            long[] ids = TensorMemory.ToArray<long>(batch.Ids[row]), targets = TensorMemory.ToArray<long>(batch.Targets[row]);
            float[] weights = TensorMemory.ToArray<float>(batch.Weights![row]);
            for (int i = 0; i < Length; i++) all += targets[i] < 0 ? 0 : weights[i];
            foreach (var (first, count) in new[] { (0, 3), (3, 3) })
            {
                var hidden = model.Hidden(tensor(ids[first..(first + count)]).view(1, -1));
                var further = head.Forward(model, hidden.narrow(1, 0, count - 1), tensor(ids[(first + 1)..(first + count)]).view(1, -1));
                var logarithms = nn.functional.log_softmax(model.Logits(further).to(ScalarType.Float64), -1);
                for (int i = 0; i < count - 1; i++)
                    if (targets[first + i + 1] is >= 0 and var target) sum -= weights[first + i + 1] * logarithms[0, i, target].item<double>();
            }
        }
        return sum / all;
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void The_loss_is_the_formula(bool unweighted)
    {
        using var model = Small.Model(compute: ScalarType.Float64);
        using var head = PredictionHead.Create(model, seed: 2);
        using var batch = Batch(3);
        if (unweighted) batch.Weights!.fill_(1);
        using var context = new SequenceContext(batch.Layout);
        var loss = new MultiTokenPrediction(head, 0.5).Compute(model, batch, context);
        using var plain = new SequenceContext(batch.Layout);
        var expected = model.Loss(batch.Ids, batch.Targets, plain, batch.Weights);
        double formula = Formula(model, head, batch);
        Assert.Equal(expected.CrossEntropy.item<double>(), loss.CrossEntropy.item<double>());
        Assert.Equal(expected.Total.item<double>() + 0.5 * formula, loss.Total.item<double>(), 1e-6);
        var alone = head.Loss(model, model.Hidden(batch.Ids, new SequenceContext(batch.Layout)), batch.Ids, batch.Targets, batch.Layout,
            unweighted ? null : batch.Weights);
        Assert.Equal(formula, alone.item<double>(), 1e-6);
    }

    [Fact]
    public void Rows_without_a_further_target_have_no_loss()
    {
        using var model = Small.Model();
        using var head = PredictionHead.Create(model, seed: 2);
        var ids = tensor(new long[] { 3, 4 }).view(2, 1);
        Assert.Equal(0, head.Loss(model, model.Hidden(ids), ids, tensor(new long[] { 5, 6 }).view(2, 1)).item<float>());
    }

    // The change of the loss along the gradient of each group, in float64. Parameters are float32, so their rounded changes are used. The error of
    // the difference falls with the square of the step; measured 2e-6.
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Gradients_of_head_embedding_and_blocks_are_those_of_the_loss(bool tied)
    {
        using var model = (Small.Design() with { TiedHead = tied }).CreateModel(ScalarType.Float64, seed: 1);
        using var head = PredictionHead.Create(model, seed: 2);
        using var batch = Batch(3);
        Tensor Loss() => head.Loss(model, model.Hidden(batch.Ids, new SequenceContext(batch.Layout)), batch.Ids, batch.Targets, batch.Layout,
            batch.Weights);
        Autograd.Backward(Loss());
        var groups = model.Parameters.GroupBy(item => item.Name.Split('.')[0]).Append(head.Parameters.GroupBy(_ => "further").Single());
        Assert.Equal(tied ? 3 : 4, groups.Count());
        using var noGrad = no_grad();
        foreach (var group in groups)
        {
            var moved = group.Select(item => (item.Value, Gradient: item.Value.grad!.to(ScalarType.Float64), Before: item.Value.clone())).ToArray();
            double norm = Math.Sqrt(moved.Sum(one => one.Gradient.pow(2).sum().item<double>())), predicted = 0;
            Assert.True(norm > 1e-4, $"{group.Key}: {norm}");
            double At(double step)
            {
                foreach (var (value, gradient, before) in moved)
                {
                    value.copy_(before + gradient * (step / norm));
                    predicted += Math.Sign(step) * (gradient * value.to(ScalarType.Float64)).sum().item<double>();
                }
                return Loss().item<double>();
            }
            double actual = At(1e-4) - At(-1e-4);
            foreach (var (value, _, before) in moved) value.copy_(before);
            Assert.True(Math.Abs(actual / predicted - 1) < 1e-5, $"{group.Key}: {actual}, {predicted} expected");
        }
    }

    [Fact]
    public void Passes_over_parts_of_a_step_add_up_to_one_pass()
    {
        Dictionary<string, Tensor> Gradients(int rowsPerPass)
        {
            using var model = Small.Model(compute: ScalarType.Float64);
            using var head = PredictionHead.Create(model, seed: 2);
            using var trainer = new Trainer(model, Documents, Options with { MicroBatchSize = rowsPerPass, Duration = Duration.Steps(1) },
                callbacks: [new MultiTokenPrediction(head)]);
            trainer.Run();
            return trainer.OptimizerState.ToDictionary(item => item.Key, item => item.Value.clone());
        }
        var (whole, parts) = (Gradients(0), Gradients(1));
        Assert.Contains(whole.Keys, name => name.Contains("prediction_head.input.weight"));
        foreach (var (name, value) in whole) Assert.True((value - parts[name]).abs().max().item<float>() <= 1e-6, name);
    }

    TrainingOptions Options => Small.Options with { ContextLength = Length };

    Trainer New(HybridLanguageModel model, PredictionHead head, string run, long steps) => new(model, Documents, Options with
    {
        Duration = Duration.Steps(steps), Folder = folder[run], CheckpointEvery = 2, MicroBatchSize = 2,
        Schedule = new TrapezoidSchedule { WarmUp = 0, CoolDown = 0 },
    }, callbacks: [new MultiTokenPrediction(head)]);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_run_continues_bit_for_bit_with_its_head(bool experts)
    {
        using HybridLanguageModel straight = Small.Model(experts: experts), stopped = Small.Model(experts: experts);
        using PredictionHead one = PredictionHead.Create(straight, seed: 2), two = PredictionHead.Create(stopped, seed: 2),
            other = PredictionHead.Create(stopped, seed: 9), unlike = PredictionHead.Create(stopped, [stopped.Design.Blocks[0]], seed: 2);
        using (var trainer = New(straight, one, "straight", 6)) trainer.Run();
        using (var trainer = New(stopped, two, "stopped", 3)) trainer.Run();
        Trainer Resume(params TrainingCallback[] callbacks) => Trainer.Resume(folder["stopped"], Documents, callbacks: callbacks,
            change: options => options with { Duration = Duration.Steps(6) });
        Assert.Contains("'multi-token prediction, weight 0.3'", Assert.Throws<ArgumentException>(() => Resume()).Message);
        Assert.Throws<ArgumentException>(() => Resume(new MultiTokenPrediction(other, 0.1)));
        Assert.Contains("expected a head of the same design",
            Assert.Throws<ArgumentException>(() => Resume(new MultiTokenPrediction(unlike))).Message);
        // its weights are replaced by those of the checkpoint
        using var resumed = Resume(new MultiTokenPrediction(other));
        using var model = resumed.Model;
        resumed.Run();
        Small.AssertBitEqual(straight, model);
        AssertSame(one, other);
        using var read = Checkpoint.LoadPredictionHead(resumed.Run().Checkpoint!, model);
        AssertSame(one, read);
    }

    static void AssertSame(PredictionHead expected, PredictionHead actual)
    {
        foreach (var (name, value) in expected.State) Assert.True(value.eq(actual.State[name]).all().item<bool>(), name);
    }

    double Accepted(HybridLanguageModel model, PredictionHead head)
    {
        int[][] prompts = [.. Enumerable.Range(0, Small.VocabularySize).Select(id => (int[])[id])];
        var (drafted, accepted) = (head.DraftedTokens, head.AcceptedTokens);
        var options = new GenerationOptions { Temperature = 0, MaxNewTokens = 12 };
        var generator = new TextGenerator(model);
        Assert.Equal(generator.Generate(prompts, options).Select(one => one.Ids),
            generator.Generate(prompts, options with { PredictionHead = head }).Select(one => one.Ids));
        return (head.AcceptedTokens - accepted) / (double)(head.DraftedTokens - drafted);
    }

    [Fact]
    public void A_trained_head_has_more_drafts_accepted_than_a_new_one()
    {
        using var data = Small.Data();
        using var model = Small.Model();
        using PredictionHead head = PredictionHead.Create(model, seed: 2), untrained = PredictionHead.Create(model, seed: 2);
        using (var trainer = new Trainer(model, data, Small.Options with { Duration = Duration.Steps(120) },
            callbacks: [new MultiTokenPrediction(head)])) trainer.Run();
        var (before, after) = (Accepted(model, untrained), Accepted(model, head));
        Assert.True(after > 0.6 && after > 2 * before, $"{before:p0} accepted before, {after:p0} after");
    }

    [Fact]
    [Trait("device", "cuda")]
    public void A_head_is_trained_on_a_GPU_as_on_the_CPU()
    {
        Assert.SkipUnless(cuda.is_available(), "no CUDA device: a head was not trained on a GPU");
        double[] Losses(Device device)
        {
            using var data = Small.Data();
            using var model = Small.Model(device: device);
            using var head = PredictionHead.Create(model, seed: 2);
            var input = head.State["input.weight"].clone();
            using var trainer = new Trainer(model, data, Small.Options with { ReportEvery = 1 }, callbacks: [new MultiTokenPrediction(head)]);
            var losses = trainer.Run().History.Select(report => report.Loss).ToArray();
            Assert.False(input.eq(head.State["input.weight"]).all().item<bool>());
            return losses;
        }
        // twelve steps of float32
        foreach (var (expected, actual) in Losses(CPU).Zip(Losses(CUDA))) Assert.Equal(expected, actual, 1e-3);
    }

    [Fact]
    public void A_head_alone_is_trained_if_the_model_is_frozen()
    {
        using var data = Small.Data();
        using var model = Small.Model();
        using var head = PredictionHead.Create(model, seed: 2);
        var before = Small.Bytes(model);
        var input = head.State["input.weight"].clone();
        foreach (var parameter in model.Parameters) parameter.Value.requires_grad = false;
        using (var trainer = new Trainer(model, data, Small.Options, callbacks: [new MultiTokenPrediction(head)])) trainer.Run();
        foreach (var (name, bytes) in Small.Bytes(model)) Assert.Equal(before[name], bytes);
        Assert.False(input.eq(head.State["input.weight"]).all().item<bool>());
    }

    [Fact]
    public void A_run_that_trains_the_head_alone_goes_on_bit_for_bit()
    {
        using var model = Small.Model();
        using PredictionHead straight = PredictionHead.Create(model, seed: 2), stopped = PredictionHead.Create(model, seed: 2),
            other = PredictionHead.Create(model, seed: 9);
        foreach (var parameter in model.Parameters) parameter.Value.requires_grad = false;
        using (var trainer = New(model, straight, "straight", 6)) trainer.Run();
        using (var trainer = New(model, stopped, "stopped", 3)) trainer.Run();
        using var resumed = Resume("stopped", other);
        using var read = resumed.Model;
        resumed.Run();
        Small.AssertBitEqual(model, read);
        AssertSame(straight, other);
    }

    Trainer Resume(string run, PredictionHead head) => Trainer.Resume(folder[run], Documents, callbacks: [new MultiTokenPrediction(head)],
        change: options => options with { Duration = Duration.Steps(6) });

    [Fact]
    public void A_loaded_head_is_trained_with_adapters_and_the_run_goes_on_bit_for_bit()
    {
        using var saved = Small.Model();
        using (var made = PredictionHead.Create(saved, seed: 2)) Checkpoint.Save(saved, folder["saved"], predictionHead: made);
        void Train(string run, int steps)
        {
            using var model = Checkpoint.Load(folder["saved"]);
            using var head = Checkpoint.LoadPredictionHead(folder["saved"], model);
            using var adapters = LoraAdapters.Attach(model, new() { Rank = 2, Seed = 4 });
            using var trainer = New(model, head, run, steps);
            trainer.Run();
        }
        Train("straight", 6);
        Train("stopped", 3);
        using var other = PredictionHead.Create(saved, seed: 9);
        using var resumed = Resume("stopped", other);
        using HybridLanguageModel model = resumed.Model, straight = Checkpoint.Load(folder["straight/step-00000006"]);
        resumed.Run();
        Small.AssertBitEqual(straight, model);
        using var expected = Checkpoint.LoadPredictionHead(folder["straight/step-00000006"], straight);
        AssertSame(expected, other);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_loss_of_the_head_that_is_not_finite_is_named(bool isFrozen)
    {
        using var model = Small.Model();
        using var head = PredictionHead.Create(model, seed: 2);
        if (isFrozen)
            foreach (var parameter in model.Parameters) parameter.Value.requires_grad = false;
        using (no_grad()) head.State["input.weight"].fill_(float.NaN);
        using var trainer = New(model, head, $"diverged {isFrozen}", 3);
        Assert.Contains("first in the loss of the objective", Assert.Throws<TrainingDivergedException>(() => trainer.Run()).Message);
    }

    [Fact]
    public void What_does_not_fit_is_refused()
    {
        using var model = Small.Model();
        using HybridLanguageModel other = HybridDesign.Create(8, 11).WithAttention(heads: 2).Depth(1).Build().CreateModel();
        using var head = PredictionHead.Create(other);
        Assert.Contains("weight is 0; expected a finite number above 0",
            Assert.Throws<ArgumentOutOfRangeException>(() => new MultiTokenPrediction(head, 0)).Message);
        Assert.Contains("model has width 16", Assert.Throws<ArgumentException>(() => New(model, head, "unfit", 1)).Message);
    }
}
