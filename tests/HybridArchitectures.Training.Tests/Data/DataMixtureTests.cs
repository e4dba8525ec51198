using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Running;
using HybridArchitectures.Training.Tests.Running;

namespace HybridArchitectures.Training.Tests.Data;

public sealed class DataMixtureTests : IDisposable
{
    const int ContextLength = 8;

    // source i holds tokens 4i to 4i + 3 alone, so that a row tells where it is from
    readonly TokenDataset[] data = [.. Enumerable.Range(0, 3).Select(source =>
        TokenDataset.FromTokens([.. Enumerable.Range(0, 200 + 1000 * source).Select(i => 4 * source + (int)(SeededPermutation.Mix((ulong)i) % 4))],
            Small.VocabularySize, [0, 50, 120], _ => 1))];

    DataMixture Mixture => new([new MixtureSource(data[0], 5, "a"), new MixtureSource(data[1], 3, "b"), new MixtureSource(data[2], 2, "c")]);

    public void Dispose()
    {
        foreach (var item in data) item.Dispose();
    }

    static TrainingReader Sampler(DataMixture mixture, long seed = 1) => mixture.OpenReader(new(ContextLength, seed, SeparateDocuments: true));

    static long[] Ids(TokenBatch batch) => [.. batch.Ids.data<long>()];

    [Fact]
    public void Shares_hold_at_every_position_to_within_a_row()
    {
        var sampler = Sampler(Mixture);
        var counts = new int[3];
        for (int row = 1; row <= 500; row++)
        {
            using var batch = sampler.ReadBatch(1);
            counts[Ids(batch)[0] / 4]++;
            for (int i = 0; i < 3; i++) Assert.Equal(row * (new[] { 0.5, 0.3, 0.2 })[i], counts[i], 1.0);
        }
        Assert.Equal([250, 150, 100], counts);
    }

    [Fact]
    public void A_source_returns_its_rows_in_its_order_once_per_epoch()
    {
        var sampler = Sampler(Mixture);
        var alone = new WindowSampler(data[0], ContextLength, seed: 1, separateDocuments: true);
        for (int row = 0; row < 200; row++)
        {
            using var batch = sampler.ReadBatch(1);
            if (Ids(batch)[0] / 4 != 0) continue;
            using var expected = alone.Next(1);
            Assert.Equal(Ids(expected), Ids(batch));
        }
        Assert.True(alone.Position.Epoch >= 3, "no epoch ended");
    }

    [Fact]
    public void Rows_after_a_position_do_not_depend_on_the_number_per_read()
    {
        var whole = Sampler(Mixture);
        var rows = new List<long[]>();
        for (int row = 0; row < 300; row++)
        {
            using var batch = whole.ReadBatch(1);
            rows.Add(Ids(batch));
        }
        foreach (int start in new[] { 0, 1, 17, 123, 280 })
        {
            var sampler = Sampler(Mixture);
            sampler.Position = new DataPosition(0, start);
            using var batch = sampler.ReadBatch(20);
            Assert.Equal(rows.Skip(start).Take(20).SelectMany(row => row), Ids(batch));
            Assert.Equal(new DataPosition(0, start + 20), sampler.Position);
            Assert.Equal(20 * ContextLength, batch.Layout!.Batch * batch.Layout.Length);
            Assert.Equal(batch.Counted, batch.Bytes);
        }
        var other = Sampler(Mixture, seed: 2);
        using var first = other.ReadBatch(20);
        Assert.NotEqual(rows.Take(20).SelectMany(row => row), Ids(first));
    }

    [Fact]
    public void A_run_on_a_mixture_resumes_bit_equal_and_knows_its_sources()
    {
        using var folder = new TemporaryFolder();
        using var straight = Small.Model(); using var begun = Small.Model();
        var options = Small.Options with { Duration = Duration.Steps(8) };
        using (var trainer = new Trainer(straight, Mixture, options)) trainer.Run();
        using (var trainer = new Trainer(
            begun, Mixture, options with { Duration = Duration.Steps(4), Folder = folder["run"], Schedule = options.Schedule })) trainer.Run();
        using (var source = new CancellationTokenSource())
        {
            using var other = Small.Model();
            using var trainer = new Trainer(other, Mixture, options with { Folder = folder["cut"] }, callbacks: [new CancelAt(5, source)]);
            trainer.Run(cancellation: source.Token);
        }
        using var resumed = Trainer.Resume(folder["cut"], Mixture);
        using var model = resumed.Model;
        Assert.Equal(20, resumed.Position.Index);
        resumed.Run();
        Small.AssertBitEqual(straight, model);
        var changed = new DataMixture([new MixtureSource(data[0], 5, "a"), new MixtureSource(data[1], 3, "b"), new MixtureSource(data[2], 2.5, "c")]);
        Assert.Contains("weight 2.5", Assert.Throws<InvalidDataException>(() => Trainer.Resume(folder["cut"], changed)).Message);
    }

    sealed class CancelAt(long step, CancellationTokenSource source) : TrainingCallback
    {
        public override void OnStep(TrainingStep done)
        {
            if (done.Step == step) source.Cancel();
        }
    }

    [Fact]
    public void Bad_mixtures_are_refused_by_name()
    {
        Assert.Throws<ArgumentException>("sources", () => new DataMixture());
        foreach (double weight in new[] { 0, -1, double.NaN, double.PositiveInfinity })
            Assert.Contains("'a' has weight",
                Assert.Throws<ArgumentException>("sources", () => new DataMixture(new MixtureSource(data[0], weight, "a"))).Message);
        using var foreign = TokenDataset.FromTokens([0, 1], 2);
        Assert.Contains("'b' has a vocabulary size of 2; expected 20, as 'a' has",
            Assert.Throws<ArgumentException>(
            "sources", () => new DataMixture(new MixtureSource(data[0], 1, "a"), new MixtureSource(foreign, 1, "b"))).Message);
    }
}
