using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Optimization;
using HybridArchitectures.Training.Running;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Tests;

public sealed class DistillationTests : IDisposable
{
    readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    static HybridLanguageModel Model(long seed, int width = 8, int vocabulary = 11) => HybridDesign.Create(width, vocabulary).WithAttention(heads: 2)
        .WithMamba2(stateSize: 4, headSize: 4).WithFeedForward(FeedForwardSpec.SwiGlu(16)).Pattern("MT").Build().CreateModel(seed: seed);

    // 2 of the 12 positions do not count, and weights differ
    static GeneratedData Rows => new(11, "rows", (random, row) =>
    {
        for (int i = 0; i < row.ContextLength; i++) (row.Ids[i], row.Targets[i]) = (random.Next(11), i == 2 ? TrainingRow.NoTarget : random.Next(11));
        row.UseWeights()[3] = 0.5f;
    });

    static double[][] Probabilities(HybridLanguageModel model, Tensor ids, double temperature)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        float[] logits = TensorMemory.ToArray<float>(model.Forward(ids));
        return [.. logits.Chunk(model.VocabularySize).Select(row =>
        {
            double[] powers = [.. row.Select(logit => Math.Exp(logit / temperature))];
            return powers.Select(power => power / powers.Sum()).ToArray();
        })];
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(0.25, 2)]
    public void The_loss_is_the_formula(double share, double temperature)
    {
        using HybridLanguageModel student = Model(1), teacher = Model(2, width: 16);
        using var batch = Rows.OpenReader(new TrainingReaderOptions(6, Seed: 3)).ReadBatch(2);
        using var context = new SequenceContext(batch.Layout);
        using var scope = NewDisposeScope();
        var loss = new Distillation(teacher, share, temperature).Compute(student, batch, context);
        double[][] p = Probabilities(teacher, batch.Ids, temperature), q = Probabilities(student, batch.Ids, temperature),
            plain = Probabilities(student, batch.Ids, 1);
        long[] targets = TensorMemory.ToArray<long>(batch.Targets);
        float[] weights = TensorMemory.ToArray<float>(batch.Weights!);
        double divergence = 0, crossEntropy = 0, weight = 0;
        for (int i = 0; i < targets.Length; i++)
        {
            if (targets[i] < 0) continue;
            weight += weights[i];
            crossEntropy -= weights[i] * Math.Log(plain[i][targets[i]]);
            divergence += weights[i] * p[i].Zip(q[i], (a, b) => a * Math.Log(a / b)).Sum();
        }
        Assert.Equal(crossEntropy / weight, loss.CrossEntropy.item<float>(), 1e-5);
        Assert.Equal(((1 - share) * crossEntropy + share * temperature * temperature * divergence) / weight, loss.Total.item<float>(), 1e-5);
    }

    [Fact]
    public void A_model_has_nothing_to_learn_from_itself()
    {
        using HybridLanguageModel student = Model(1), teacher = Model(1);
        using var batch = Rows.OpenReader(new TrainingReaderOptions(6, Seed: 3)).ReadBatch(2);
        using var context = new SequenceContext(batch.Layout);
        using var scope = NewDisposeScope();
        var loss = new Distillation(teacher, share: 1).Compute(student, batch, context);
        Assert.Equal(0, loss.Total.item<float>(), 1e-6);
        Autograd.Backward(loss.Total);
        Assert.All(student.Parameters, parameter => Assert.Equal(0, parameter.Value.grad!.abs().max().item<float>(), 1e-6));
        Assert.All(teacher.Parameters, parameter => Assert.Null(parameter.Value.grad));
    }

    Trainer New(HybridLanguageModel student, Distillation objective, string run, long steps) => new(student, Rows, new TrainingOptions
    {
        LearningRate = 1e-2, ContextLength = 6, BatchSize = 4, MicroBatchSize = 2, Duration = Duration.Steps(steps), Folder = folder[run],
        Schedule = new TrapezoidSchedule { WarmUp = 0, CoolDown = 0 },
    }, callbacks: [objective]);

    [Fact]
    public void A_run_continues_bit_for_bit_with_the_same_teacher_and_is_refused_with_another()
    {
        using HybridLanguageModel teacher = Model(2, width: 16), other = Model(5, width: 16), straight = Model(1), stopped = Model(1);
        var objective = new Distillation(teacher, 0.5, 2);
        using (var trainer = New(straight, objective, "straight", 6)) trainer.Run();
        using (var trainer = New(stopped, objective, "stopped", 3)) trainer.Run();
        Trainer Resume(params TrainingCallback[] callbacks) => Trainer.Resume(folder["stopped"], Rows, callbacks: callbacks,
            change: options => options with { Duration = Duration.Steps(6) });
        Assert.Contains("callbacks has the objective 'none'; expected 'distillation, share 0.5, temperature 2, teacher ",
            Assert.Throws<ArgumentException>(() => Resume()).Message);
        Assert.Throws<ArgumentException>(() => Resume(new Distillation(other, 0.5, 2)));
        Assert.Throws<ArgumentException>(() => Resume(new Distillation(teacher, 0.5, 1)));
        using var resumed = Resume(new Distillation(teacher, 0.5, 2));
        using var model = resumed.Model;
        resumed.Run();
        foreach (var (name, value) in straight.State)
            Assert.Equal(TensorMemory.ToArray<float>(value), TensorMemory.ToArray<float>(model.State[name]));
    }

    [Fact]
    public void A_student_learns_the_teacher_from_any_text()
    {
        using HybridLanguageModel teacher = Model(2, width: 16), student = Model(1);
        var objective = new Distillation(teacher, share: 1);
        double Divergence()
        {
            using var batch = Rows.OpenReader(new TrainingReaderOptions(6, Seed: 99)).ReadBatch(16);
            using var context = new SequenceContext(batch.Layout);
            using var scope = NewDisposeScope();
            using var noGrad = no_grad();
            return objective.Compute(student, batch, context).Total.item<float>();
        }
        double before = Divergence();
        using (var trainer = New(student, objective, "learns", 60)) trainer.Run();
        Assert.True(Divergence() < before / 2, $"{before} before, {Divergence()} after");
    }

    [Fact]
    public void What_does_not_fit_is_refused()
    {
        using HybridLanguageModel teacher = Model(2, vocabulary: 12), student = Model(1);
        Assert.Throws<ArgumentOutOfRangeException>(() => new Distillation(teacher, share: 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => new Distillation(teacher, temperature: 0));
        using var trainer = New(student, new Distillation(teacher), "unfit", 1);
        Assert.Contains("teacher has a vocabulary size of 12; expected 11", Assert.Throws<ArgumentException>(() => trainer.Run()).Message);
        Assert.Contains("at most 1 objective", Assert.Throws<ArgumentOutOfRangeException>(() => new Trainer(student, Rows,
            new TrainingOptions { LearningRate = 1, ContextLength = 6, BatchSize = 1, Duration = Duration.Steps(1) },
            callbacks: [new Distillation(teacher), new Distillation(teacher)])).Message);
    }
}
