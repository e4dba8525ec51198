using HybridArchitectures.Training.Data;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Tests.Data;

public class WindowSamplerTests
{
    static TokenDataset Counting(int count, long[]? starts = null) => TokenDataset.FromTokens([.. Enumerable.Range(0, count)], count, starts);

    static List<long[]> Rows(Tensor tensor)
    {
        var all = tensor.data<long>().ToArray();
        return [.. all.Chunk((int)tensor.size(1))];
    }

    static List<long[]> Take(WindowSampler sampler, int batches, int rows)
    {
        var result = new List<long[]>();
        for (int i = 0; i < batches; i++)
        {
            using var batch = sampler.Next(rows);
            result.AddRange(Rows(batch.Ids));
        }
        return result;
    }

    [Fact]
    public void Targets_are_the_tokens_after_the_ids()
    {
        using var data = Counting(100);
        using var batch = new WindowSampler(data, 9).Next(4);
        Assert.All(Rows(batch.Ids).Zip(Rows(batch.Targets)), pair => Assert.Equal(pair.First.Select(id => id + 1), pair.Second));
        Assert.Null(batch.Layout);
        Assert.Equal(36, batch.Counted);
    }

    [Fact]
    public void A_device_that_libtorch_does_not_know_is_refused_and_no_position_is_lost()
    {
        using var data = Counting(100);
        var none = new TorchSharp.torch.Device((TorchSharp.DeviceType)99);
        var sampler = new WindowSampler(data, 9, shuffle: false);
        Assert.Equal("device", Assert.Throws<ArgumentException>(() => sampler.Next(2, none)).ParamName);
        var reader = data.OpenReader(new TrainingReaderOptions(9));
        Assert.Equal("device", Assert.Throws<ArgumentException>(() => reader.ReadBatch(2, none)).ParamName);
        Assert.Equal("device", Assert.Throws<ArgumentException>(() => HybridArchitectures.Training.Distributed.Collectives.Single(none)).ParamName);
        Assert.Equal(new DataPosition(0, 0), sampler.Position);
    }

    [Fact]
    public void In_order_every_token_but_the_last_few_is_read_once()
    {
        using var data = Counting(50);
        Assert.Equal(Enumerable.Range(0, 49).Select(i => (long)i), Take(new WindowSampler(data, 7, shuffle: false), 7, 1).SelectMany(row => row));
    }

    [Fact]
    public void An_epoch_shuffles_all_windows_and_the_next_one_otherwise()
    {
        using var data = Counting(10_000);
        var sampler = new WindowSampler(data, 10, seed: 4);
        var epochs = new List<long[]>();
        for (int epoch = 0; epoch < 3; epoch++)
        {
            Assert.Equal(new DataPosition(epoch, 0), sampler.Position is { Index: 0 } at ? at : new DataPosition(sampler.Position.Epoch, 0));
            int count = (int)sampler.CountWindows(epoch);
            var starts = Take(sampler, count, 1).Select(row => row[0]).ToArray();
            Assert.Equal(count, starts.Distinct().Count());
            Assert.Single(starts.Select(start => start % 10).Distinct());
            Assert.NotEqual(starts.Order(), starts);
            epochs.Add(starts);
        }
        Assert.NotEqual(epochs[0], epochs[1]);
        Assert.NotEqual(epochs[1], epochs[2]);
    }

    [Fact]
    public void The_order_depends_on_the_seed_and_not_on_the_number_of_rows_per_read()
    {
        using var data = Counting(300);
        var byOne = Take(new WindowSampler(data, 10, seed: 1), 100, 1);
        Assert.Equal(byOne, Take(new WindowSampler(data, 10, seed: 1), 10, 10));
        Assert.Equal(byOne, Take(new WindowSampler(data, 10, seed: 1), 25, 4));
        Assert.NotEqual(byOne, Take(new WindowSampler(data, 10, seed: 2), 100, 1));
    }

    [Fact]
    public void Rows_continue_exactly_from_any_position()
    {
        using var data = Counting(300);
        var straight = new WindowSampler(data, 10, seed: 3);
        for (int i = 0; i < 40; i++)
        {
            var position = straight.Position;
            using var expected = straight.Next(3);
            using var got = new WindowSampler(data, 10, seed: 3) { Position = position }.Next(3);
            Assert.Equal(Rows(expected.Ids), Rows(got.Ids));
            Assert.Equal(expected.Position, got.Position);
        }
    }

    [Fact]
    public void Separate_documents_have_no_targets_across_their_ends()
    {
        using var data = Counting(13, [0, 2, 9]);
        using var batch = new WindowSampler(data, 6, shuffle: false, separateDocuments: true).Next(2);
        Assert.Equal([[1, -100, 3, 4, 5, 6], [7, 8, -100, 10, 11, 12]], Rows(batch.Targets));
        Assert.Equal([[0, 0, 1, 1, 1, 1], [1, 1, 1, 2, 2, 2]], Rows(batch.Layout!.DocumentIds!));
        Assert.Equal(10, batch.Counted);
        Assert.Null(batch.Layout.RowLengths);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(17)]
    [InlineData(4096)]
    [InlineData(4097)]
    public void A_permutation_meets_every_number_once(int count)
    {
        var permutation = new SeededPermutation(count, 99);
        Assert.Equal(Enumerable.Range(0, count).Select(i => (long)i), Enumerable.Range(0, count).Select(i => permutation[i]).Order());
    }

    [Fact]
    public void A_shuffled_order_has_no_trend()
    {
        // the mean of |index - place| of a random order is n/3, with a deviation of about n / sqrt(45 n)
        const int count = 10_000;
        var permutation = new SeededPermutation(count, 7);
        Assert.InRange(Enumerable.Range(0, count).Average(i => Math.Abs(permutation[i] - i)), count / 3.0 - 100, count / 3.0 + 100);
        Assert.InRange(Enumerable.Range(0, count - 1).Average(i => Math.Abs(permutation[i + 1] - permutation[i])), count / 3.0 - 100,
            count / 3.0 + 100);
    }

    [Fact]
    public void Impossible_contexts_rows_and_positions_are_refused_by_name()
    {
        using var data = Counting(10);
        void Refused(string name, Action action) => Assert.Equal(name, Assert.ThrowsAny<ArgumentException>(action).ParamName);
        Refused("contextLength", () => new WindowSampler(data, 0));
        Refused("contextLength", () => new WindowSampler(data, 10));
        var sampler = new WindowSampler(data, 9);
        Refused("rows", () => sampler.Next(0));
        Refused("Position", () => sampler.Position = new DataPosition(-1, 0));
        Refused("Position", () => sampler.Position = new DataPosition(0, 2));
    }
}
