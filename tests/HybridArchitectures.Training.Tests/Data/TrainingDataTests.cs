using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Running;
using HybridArchitectures.Training.Tests.Running;

namespace HybridArchitectures.Training.Tests.Data;

public sealed class TrainingDataTests : IDisposable
{
    const int ContextLength = 8;

    readonly TokenDataset text = Small.Data(300, starts: [0, 50, 120]);

    public void Dispose() => text.Dispose();

    static ExampleDataset Examples(bool packed = true) => ExampleDataset.FromExamples(
        [.. Enumerable.Range(0, 20).Select(i => new TrainingExample([.. Enumerable.Range(i % 7, 2 + i % 5)], i % 2, i == 3 ? 0.5 : 1))],
        Small.VocabularySize, packed);

    static GeneratedData Generated() => new(Small.VocabularySize, "counts", (random, row) =>
    {
        int first = random.Next(10);
        row.SetSequence([first, first + 1, first + 2, first + 3], index => index > 1);
    });

    ITrainingData Data(string kind) => kind switch
    {
        "text" => text,
        "examples" => Examples(),
        "single" => Examples(packed: false),
        "generated" => Generated(),
        _ => new DataMixture(new(text, 2, "text"), new(Examples(), 1, "examples"), new(Generated(), 1, "generated")),
    };

    static long[] Values(TorchSharp.torch.Tensor tensor) => TensorMemory.ToArray<long>(tensor);

    static string Row(TrainingRow row) => string.Join(' ', row.Ids.ToArray()) + "|" + string.Join(' ', row.Targets.ToArray()) + "|" + row.Length;

    [Theory]
    [InlineData("text")]
    [InlineData("examples")]
    [InlineData("single")]
    [InlineData("generated")]
    [InlineData("mixture")]
    public void Rows_continue_from_any_position_and_can_be_skipped(string kind)
    {
        var options = new TrainingReaderOptions(ContextLength, Seed: 3, SeparateDocuments: true);
        var reader = Data(kind).OpenReader(options);
        var row = new TrainingRow(ContextLength);
        var (rows, positions) = (new List<string>(), new List<DataPosition>());
        for (int i = 0; i < 150; i++)
        {
            positions.Add(reader.Position);
            reader.ReadRow(row);
            rows.Add(Row(row));
        }
        foreach (int start in new[] { 0, 1, 17, 60, 149 })
        {
            var resumed = Data(kind).OpenReader(options);
            resumed.Position = positions[start];
            resumed.ReadRow(row);
            Assert.Equal(rows[start], Row(row));
            var skipping = Data(kind).OpenReader(options);
            skipping.Skip(start);
            skipping.ReadRow(row);
            Assert.Equal(rows[start], Row(row));
        }
        var other = Data(kind).OpenReader(options with { Seed = 4 });
        Assert.NotEqual(rows.Take(20), Enumerable.Range(0, 20).Select(_ =>
        {
            other.ReadRow(row);
            return Row(row);
        }));
        Assert.Equal(Data(kind).Description, Data(kind).Description);
        Assert.Equal("rows", Assert.Throws<ArgumentOutOfRangeException>(() => other.Skip(long.MaxValue)).ParamName);
        Assert.Equal("rows", Assert.Throws<ArgumentOutOfRangeException>(() => other.Skip(-1)).ParamName);
    }

    [Fact]
    public void Windows_are_those_of_the_sampler()
    {
        var reader = text.OpenReader(new(ContextLength, Seed: 7, SeparateDocuments: true));
        var sampler = new WindowSampler(text, ContextLength, seed: 7, separateDocuments: true);
        for (int i = 0; i < 30; i++)
        {
            using var expected = sampler.Next(3);
            using var actual = reader.ReadBatch(3);
            Assert.Equal(expected.Position, actual.Position);
            Assert.Equal(Values(expected.Ids), Values(actual.Ids));
            Assert.Equal(Values(expected.Targets), Values(actual.Targets));
            Assert.Equal((expected.Counted, expected.Bytes), (actual.Counted, actual.Bytes));
            Assert.Equal(Values(expected.Layout!.DocumentIds!), Values(actual.Layout!.DocumentIds!));
            Assert.Null(actual.Weights);
        }
    }

    [Fact]
    public void Examples_come_whole_each_once_an_epoch_and_their_prompts_do_not_count()
    {
        var examples = ExampleDataset.FromExamples(
            [new([1, 2, 3, 4], PromptLength: 2), new([5, 6, 7], Weight: 0.25), new([8, 9], PromptLength: 1), new([10, 11, 12, 13, 14])], 15);
        Assert.Equal((4, 5), (examples.Count, examples.MaxLength));
        var expected = new Dictionary<long, long[]> { [1] = [-100, 3, 4], [5] = [6, 7], [8] = [9], [10] = [11, 12, 13, 14] };
        var reader = examples.OpenReader(new(ContextLength: 6));
        var seen = new List<long>();
        while (reader.Position.Epoch == 0 && seen.Count < 4)
        {
            using var batch = reader.ReadBatch(1);
            var (ids, targets, documents) = (Values(batch.Ids), Values(batch.Targets), Values(batch.Layout!.DocumentIds!));
            int length = (int)(batch.Layout.RowLengths?[0] ?? 6);
            Assert.All(targets[length..], target => Assert.Equal(-100, target));
            for (int at = 0; at < length;)
            {
                var wanted = expected[ids[at]];
                seen.Add(ids[at]);
                Assert.Equal(wanted, targets[at..(at + wanted.Length)]);
                Assert.All(documents[at..(at + wanted.Length)], document => Assert.Equal(documents[at], document));
                if (at > 0) Assert.True(documents[at] > documents[at - 1]);
                if (ids[at] == 5) Assert.All(TensorMemory.ToArray<float>(batch.Weights!)[at..(at + 2)], weight => Assert.Equal(0.25f, weight));
                at += wanted.Length;
            }
        }
        Assert.Equal([1, 5, 8, 10], seen.Order());
    }

    [Fact]
    public void Refusals_name_the_example()
    {
        static string Message(params TrainingExample[] examples) =>
            Assert.ThrowsAny<ArgumentException>(() => ExampleDataset.FromExamples(examples, 5)).Message;
        Assert.Contains("example 1 has 1 tokens; expected at least 2", Message(new([1, 2]), new([1])));
        Assert.Contains("example 0 has a prompt of 2 tokens; expected 0 to 1", Message(new TrainingExample([1, 2], 2)));
        Assert.Contains("example 0 contains id 5; expected 0 to 4", Message(new TrainingExample([1, 5])));
        Assert.Contains("example 0 has weight 0;", Message(new TrainingExample([1, 2], 0, 0)));
        var data = ExampleDataset.FromExamples([new([1, 2, 3, 4])], 5);
        Assert.Contains("example 0 has 4 tokens; expected at most 3", Assert.Throws<ArgumentException>(() => data.OpenReader(new(2))).Message);
        var wrong = new GeneratedData(3, "out of range", (_, row) => row.SetSequence([1, 3]));
        Assert.Contains("generated row 0 contains 3; expected 0 to 2",
            Assert.Throws<InvalidDataException>(() => wrong.OpenReader(new(4)).ReadBatch(1)).Message);
    }

    [Fact]
    public void Random_numbers_are_those_of_the_published_algorithm()
    {
        // the first outputs of the authors' xoshiro256starstar.c from the state 1, 2, 3, 4
        var random = new SeededRandom(1, 2, 3, 4);
        Assert.Equal([11520ul, 0, 1509978240, 1215971899390074240], Enumerable.Range(0, 4).Select(_ => random.NextBits()));
        var sample = new SeededRandom(5).Sample(50, 60);
        Assert.Equal((50, 50), (sample.Length, sample.Distinct().Count()));
        Assert.All(sample, value => Assert.InRange(value, 0, 59));
        Assert.Equal(Enumerable.Range(0, 60), new SeededRandom(5).Sample(60, 60).Order());
        Assert.NotEqual(new SeededRandom(5, 1).NextBits(), new SeededRandom(5, 2).NextBits());
    }

    sealed class Observer : TrainingCallback
    {
        public List<string> Batches { get; } = [];

        public override void OnStep(TrainingStep step) =>
            Batches.Add(string.Join(';', step.Batches.Select(
                batch => string.Join(' ', Values(batch.Ids)) + "|" + string.Join(' ', Values(batch.Targets)))));
    }

    [Theory]
    [InlineData("examples")]
    [InlineData("single")]
    [InlineData("generated")]
    [InlineData("mixture")]
    public void A_run_resumes_bit_equal_and_its_callbacks_see_the_batches(string kind)
    {
        using var folder = new TemporaryFolder();
        var options = Small.Options with { ContextLength = ContextLength, BatchSize = 4, MicroBatchSize = 3, Duration = Duration.Steps(8),
            Folder = folder["run"] };
        var (straight, first, second) = (new Observer(), new Observer(), new Observer());
        using var expected = Small.Model();
        using (var trainer = new Trainer(expected, Data(kind), options with { Folder = null }, callbacks: [straight])) trainer.Run();
        using (var begun = Small.Model())
        using (var stop = new CancellationTokenSource())
        using (var trainer = new Trainer(begun, Data(kind), options, callbacks: [first, new StopAt(3, stop)]))
            Assert.False(trainer.Run(cancellation: stop.Token).Completed);
        using var resumed = Trainer.Resume(folder["run"], Data(kind), callbacks: [second]);
        using var model = resumed.Model;
        Assert.True(resumed.Run().Completed);
        Small.AssertBitEqual(expected, model);
        Assert.Equal(straight.Batches, first.Batches.Concat(second.Batches));
        Assert.Equal((3, 5), (first.Batches.Count, second.Batches.Count));
        var refusal = Assert.Throws<InvalidDataException>(
            () => Trainer.Resume(folder["run"], new GeneratedData(Small.VocabularySize, "other", (_, _) => { })));
        Assert.Contains("found other", refusal.Message);
    }

    sealed class StopAt(long step, CancellationTokenSource source) : TrainingCallback
    {
        public override void OnStep(TrainingStep done)
        {
            if (done.Step == step) source.Cancel();
        }
    }

    [Fact]
    public void Accumulation_gives_the_step_of_the_whole_batch_when_weights_and_counts_differ()
    {
        var options = Small.Options with { ContextLength = ContextLength, BatchSize = 5, Duration = Duration.Steps(4) };
        double[] Losses(int rows)
        {
            using var model = Small.Model();
            using var trainer = new Trainer(model, Examples(), options with { MicroBatchSize = rows, ReportEvery = 1 });
            return [.. trainer.Run().History.Select(report => report.Loss)];
        }
        var whole = Losses(0);
        foreach (var (expected, actual) in whole.Zip(Losses(2))) Assert.Equal(expected, actual, 1e-4);
        foreach (var (expected, actual) in whole.Zip(Losses(1))) Assert.Equal(expected, actual, 1e-4);
    }
}
