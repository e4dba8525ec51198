using HybridArchitectures.Design;
using HybridArchitectures.Evaluation.Recall;
using HybridArchitectures.Models;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Running;

namespace HybridArchitectures.Evaluation.Tests;

public sealed class SyntheticTaskTests
{
    static IEnumerable<(int[] Ids, int[] Targets)> Rows(SyntheticTask task, bool isTraining = false, int count = 60)
    {
        var reader = task.ToData(isTraining).OpenReader(new TrainingReaderOptions(task.Length, Seed: 3));
        var row = new TrainingRow(task.Length);
        for (int i = 0; i < count; i++)
        {
            reader.ReadRow(row);
            Assert.Equal(task.Length, row.Length);
            Assert.All(row.Ids.ToArray(), id => Assert.InRange(id, 0, task.RequiredVocabularySize - 1));
            yield return (Array.ConvertAll(row.Ids.ToArray(), id => (int)id), Array.ConvertAll(row.Targets.ToArray(), id => (int)id));
        }
    }

    [Theory]
    [InlineData(8192, 64, 4)]
    [InlineData(128, 32, 8)]
    public void Recall_asks_for_the_value_of_every_key_once(int vocabulary, int length, int pairs)
    {
        foreach (var (ids, targets) in Rows(new MultiQueryRecall { VocabularySize = vocabulary, Length = length, Pairs = pairs }))
        {
            var values = Enumerable.Range(0, pairs).ToDictionary(i => ids[2 * i], i => ids[2 * i + 1]);
            Assert.Equal(pairs, values.Count);
            Assert.All(values, pair => Assert.True(pair.Key >= 1 && pair.Key < vocabulary / 2 && pair.Value >= vocabulary / 2));
            Assert.Equal(pairs, values.Values.Distinct().Count());
            var asked = Enumerable.Range(0, length).Where(i => targets[i] >= 0).ToArray();
            Assert.Equal(values.Keys.Order(), asked.Select(i => ids[i]).Order());
            Assert.All(asked, i => Assert.True(i >= 2 * pairs && i % 2 == 0 && targets[i] == values[ids[i]]));
        }
    }

    [Fact]
    public void Training_rows_of_recall_hold_the_minimum_number_of_pairs_doubled_up_to_the_maximum_and_test_rows_the_maximum()
    {
        var task = new MultiQueryRecall { Length = 64, Pairs = 12, MinTrainingPairs = 3, RandomFiller = false };
        int[] Counts(bool isTraining) => [.. Rows(task, isTraining, 600).Select(row => row.Targets.Count(target => target >= 0))];
        Assert.All(Counts(isTraining: false), count => Assert.Equal(12, count));
        var counts = Counts(isTraining: true).CountBy(count => count).ToDictionary();
        Assert.Equal([3, 6, 12], counts.Keys.Order());
        // a third of 600 each; the standard deviation is 11.5
        Assert.All(counts.Values, count => Assert.InRange(count, 150, 250));
        foreach (int other in (int[])[-3, 4, 5, 24])
            Assert.Equal($"MinTrainingPairs is {other}; expected 0, or 12 divided by a power of two. (Parameter 'MinTrainingPairs')",
                Assert.ThrowsAny<ArgumentException>((task with { MinTrainingPairs = other }).ToTrainingData).Message);
    }

    // a run goes on only with data of the same description
    [Fact]
    public void The_description_of_recall_names_the_minimum_number_of_pairs_only_if_there_is_one()
    {
        var task = new MultiQueryRecall { Length = 32, VocabularySize = 64 };
        const string start =
            "MultiQueryRecall { Name = recall of 4 pairs in 32, RequiredVocabularySize = 64, Length = 32, VocabularySize = 64, Pairs = 4";
        Assert.Equal($"{start}, PowerA = 0.01, RandomFiller = True }}, training rows", task.ToTrainingData().Description);
        Assert.Equal($"{start}, MinTrainingPairs = 2, PowerA = 0.01, RandomFiller = True }}, training rows",
            (task with { MinTrainingPairs = 2 }).ToTrainingData().Description);
    }

    [Fact]
    public void Gaps_of_recall_follow_the_power_law()
    {
        // 4 pairs in 16 fill all gaps; one pair in 64 is at gap g with probability proportional to g^(0.01 - 1)
        var task = new MultiQueryRecall { VocabularySize = 128, Length = 64, Pairs = 1 };
        var counts = new int[31];
        foreach (var (_, targets) in Rows(task, count: 4000)) counts[(Array.FindIndex(targets, target => target >= 0) - 2) / 2]++;
        double sum = Enumerable.Range(1, 31).Sum(gap => Math.Pow(gap, -0.99));
        for (int gap = 1; gap <= 4; gap++)
        {
            double share = Math.Pow(gap, -0.99) / sum;
            Assert.Equal(share, counts[gap - 1] / 4000.0, 4 * Math.Sqrt(share * (1 - share) / 4000));
        }
    }

    [Theory]
    [InlineData(0, true)]
    [InlineData(0.2, true)]
    [InlineData(0.2, false)]
    public void In_context_recall_asks_for_values_that_were_shown(double noise, bool multiQuery)
    {
        var task = new InContextRecall { VocabularySize = 32, NoiseVocabulary = 16, NoiseShare = noise, MultiQuery = multiQuery };
        int asked = 0, noisy = 0;
        foreach (var (ids, targets) in Rows(task))
        {
            Assert.True(targets[^1] >= 0 == !multiQuery && targets[^2] >= 0 == multiQuery);
            for (int i = 0; i < ids.Length; i++)
            {
                if (ids[i] is >= 16 and < 31) noisy++;
                if (targets[i] < 0) continue;
                asked++;
                int before = Array.IndexOf(ids, ids[i], 0, i);
                Assert.True(before >= 0 && before % 2 == 0, "a query for a key that was not shown");
                Assert.Equal(ids[before + 1], targets[i]);
            }
        }
        Assert.True(multiQuery ? asked > 60 * 20 : asked == 60);
        Assert.Equal(noise > 0, noisy > 60 * 10);
        foreach (var (ids, targets) in Rows(task, isTraining: true)) Assert.Equal(ids[1..], targets[..^1]);
    }

    [Fact]
    public void Fuzzy_recall_ends_with_a_key_that_was_shown()
    {
        var task = new FuzzyRecall();
        foreach (var (ids, targets) in Rows(task, count: 300))
        {
            int last = Array.FindLastIndex(targets, target => target >= 0), first = last;
            Assert.Equal(task.Length - 1, last);
            while (first > 0 && targets[first - 1] >= 0) first--;
            string key = string.Join(' ', ids[(first - 2)..(first + 1)]), value = string.Join(' ', targets[first..]);
            Assert.All(ids[(first - 2)..(first + 1)], id => Assert.InRange(id, 0, 6));
            Assert.Contains($"{key} {value}", string.Join(' ', ids[..(first - 2)]));
        }
        foreach (var (ids, targets) in Rows(task, isTraining: true, count: 300))
        {
            int padding = ids.TakeWhile(id => id == 15).Count();
            Assert.DoesNotContain(15, ids[padding..]);
            Assert.Equal(ids[Math.Max(1, padding)..], targets[Math.Max(0, padding - 1)..^1]);
        }
    }

    [Fact]
    public void Selective_copying_gives_the_tokens_in_order()
    {
        foreach (var (ids, targets) in Rows(new SelectiveCopying { Length = 64, Tokens = 8 }))
        {
            int copy = Array.IndexOf(ids, 15);
            Assert.Equal(64 - 8 - 1, copy);
            Assert.All(ids[(copy + 1)..], id => Assert.Equal(14, id));
            Assert.Equal(ids[..copy].Where(id => id < 14), targets[(copy + 1)..]);
            Assert.All(targets[..(copy + 1)], target => Assert.Equal(-100, target));
        }
    }

    [Fact]
    public void Compression_asks_for_every_position()
    {
        foreach (var (ids, targets) in Rows(new Compression()))
        {
            Assert.Equal(15, ids[31]);
            Assert.Equal(Enumerable.Range(16, 31), ids[32..].Order());
            for (int i = 32; i < 63; i++) Assert.Equal(ids[ids[i] - 16], targets[i]);
        }
    }

    [Fact]
    public void Memorisation_has_one_map_for_all_rows_and_settings_have_their_own()
    {
        static Dictionary<int, int> Map(SyntheticTask task)
        {
            var map = new Dictionary<int, int>();
            foreach (var (ids, targets) in Rows(task, count: 200))
                for (int i = 0; i < ids.Length; i += 2)
                {
                    Assert.Equal((-100, task.RequiredVocabularySize - 1), (targets[i], ids[i + 1]));
                    if (!map.TryAdd(ids[i], targets[i + 1])) Assert.Equal(map[ids[i]], targets[i + 1]);
                }
            return map;
        }
        var task = new Memorization();
        var map = Map(task);
        Assert.Equal(127, map.Count);
        Assert.Equal(127, map.Values.Distinct().Count());
        Assert.All(map.Values, value => Assert.InRange(value, 127, 254));
        Assert.Equal(map, Map(task with { Length = 64 }));
        Assert.NotEqual(map, Map(task with { MapSeed = 1 }));
        Assert.Equal(7, Map(task with { VocabularySize = 16 }).Count);
    }

    [Fact]
    public void Induction_heads_asks_for_what_followed_the_special_token()
    {
        foreach (var (ids, targets) in Rows(new InductionHeads { Length = 32 }))
        {
            Assert.Equal(2, ids.Count(id => id == 15));
            Assert.Equal(15, ids[^1]);
            Assert.Equal(ids[Array.IndexOf(ids, 15) + 1], targets[^1]);
            Assert.Equal(1, targets.Count(target => target >= 0));
        }
    }

    [Fact]
    public void A_phonebook_returns_the_number_of_the_requested_name()
    {
        var task = new Phonebook { Length = 64 };
        Assert.Equal(4, task.Entries);
        foreach (var (ids, targets) in Rows(task))
        {
            int question = Array.IndexOf(ids, 38);
            string name = string.Join(' ', ids[(question + 1)..(question + 5)]), number = string.Join(' ', targets[^7..]);
            Assert.Equal(7, targets.Count(target => target >= 0));
            Assert.Contains($"{name} 36 {number} 37", string.Join(' ', ids[..question]));
            Assert.Equal(ids[^6..], targets[^7..^1]);
        }
    }

    [Fact]
    public void State_tracking_multiplies_from_the_left()
    {
        foreach (var (ids, targets) in Rows(new StateTracking()))
            for (int i = 0; i < ids.Length; i++) Assert.Equal(ids[..(i + 1)].Sum() % 2, targets[i]);
        foreach (var (ids, targets) in Rows(new StateTracking { Group = TrackedGroup.ModularAddition, Modulus = 7 }))
            for (int i = 0; i < ids.Length; i++) Assert.Equal(ids[..(i + 1)].Sum() % 7, targets[i]);
        // S3 by hand, in lexicographic order 012 021 102 120 201 210: first 1 (021), then 2 (102) maps 0 to 1, 1 to 2, 2 to 0, which is 3 (120)
        Assert.Equal(3, new StateTracking { Group = TrackedGroup.S3 }.Multiply(2, 1));
        var s5 = new StateTracking { Group = TrackedGroup.S5 };
        var random = new SeededRandom(1);
        for (int i = 0; i < 200; i++)
        {
            var (a, b, c) = (random.Next(120), random.Next(120), random.Next(120));
            Assert.Equal((a, a), (s5.Multiply(a, 0), s5.Multiply(0, a)));
            Assert.Equal(s5.Multiply(s5.Multiply(a, b), c), s5.Multiply(a, s5.Multiply(b, c)));
        }
        Assert.Contains(Enumerable.Range(0, 120), a => s5.Multiply(a, 1) != s5.Multiply(1, a));
    }

    [Fact]
    public void Accuracy_is_the_share_of_targets_a_model_predicts()
    {
        // after the special token this model says 3, whatever came before
        using var model = Bigram.Create(Bigram.Table(16, (15, 3, 5)));
        var task = new InductionHeads { Length = 16 };
        var result = task.Measure(model, rows: 60, seed: 3, batchSize: 7);
        var answers = Rows(task).Select(row => row.Targets[^1]).ToArray();
        double share = answers.Count(answer => answer == 3) / 60.0;
        Assert.Equal(share, result.Accuracy.Value, 1e-9);
        Assert.Equal(Math.Sqrt(share * (1 - share) / 59), result.Accuracy.StandardError!.Value, 1e-9);
        Assert.Equal(share, result.RowAccuracy.Value, 1e-9);
        double z = Math.Log(Math.Exp(5) + 15);
        Assert.Equal(answers.Average(answer => answer == 3 ? z - 5 : z), result.Loss.Value, 1e-4);
        Assert.Contains("expected at least 39", Assert.Throws<ArgumentException>(() => new Phonebook().Measure(model)).Message);
    }

    [Fact]
    public void The_trainer_learns_a_task_and_the_grid_shows_it()
    {
        var task = new Memorization { VocabularySize = 8, Length = 8 };
        using var model = HybridDesign.Create(16, 8).WithAttention(heads: 2).WithFeedForward(FeedForwardSpec.SwiGlu(32)).Depth(1).Build()
            .CreateModel(seed: 1);
        Assert.True(task.Measure(model).Accuracy.Value < 0.6);
        using var trainer = new Trainer(model, task.ToTrainingData(),
            new TrainingOptions { LearningRate = 0.02, ContextLength = 8, BatchSize = 16, Duration = Duration.Steps(60), Seed = 1 });
        trainer.Run();
        Assert.True(task.Measure(model).Accuracy.Value > 0.95, $"accuracy {task.Measure(model).Accuracy}");
        var grid = task.MeasureGrid([(8, model)], [4, 8], rows: 16);
        Assert.Equal(["8"], grid.Rows);
        Assert.Equal(["4", "8"], grid.Columns);
        Assert.True(grid.Values[0][1] > 0.95);
    }

    [Fact]
    public void Mad_has_its_published_sizes()
    {
        Assert.Equal([(16, 128), (16, 128), (32, 128), (16, 256), (47, 63), (256, 32)],
            MadTasks.All.Select(task => (task.RequiredVocabularySize, task.Length)));
        foreach (var task in MadTasks.All) task.Check();
    }

    public static TheoryData<string, SyntheticTask> HugeTasks => new()
    {
        { "Length", new Compression { Length = int.MaxValue } },
        { "Length", new FuzzyRecall { Length = int.MaxValue } },
        { "Length", new InContextRecall { Length = int.MaxValue - 1 } },
        { "NoiseVocabulary", new InContextRecall { NoiseVocabulary = int.MaxValue } },
        { "Length", new InductionHeads { Length = int.MaxValue } },
        { "Length", new Memorization { Length = int.MaxValue - 1 } },
        { "VocabularySize", new Memorization { VocabularySize = int.MaxValue } },
        { "Length", new MultiQueryRecall { Length = int.MaxValue - 1, VocabularySize = int.MaxValue } },
        { "VocabularySize", new MultiQueryRecall { VocabularySize = int.MaxValue } },
        { "Pairs", new MultiQueryRecall { Pairs = 1 << 30 } },          // 4 times as many are 0 in 32 bits
        { "Length", new Phonebook { Length = int.MaxValue } },
        { "NumberLength", new Phonebook { NumberLength = int.MaxValue } },
        { "Length", new SelectiveCopying { Length = int.MaxValue } },
        { "Tokens", new SelectiveCopying { Tokens = int.MaxValue } },
        { "Length", new StateTracking { Length = int.MaxValue } },
        { "Modulus", new StateTracking { Group = TrackedGroup.ModularAddition, Modulus = int.MaxValue } },
    };

    [Theory, MemberData(nameof(HugeTasks))]
    public void Settings_beyond_memory_are_refused_by_name(string name, SyntheticTask task) =>
        Assert.StartsWith($"{name} is ", Assert.Throws<ArgumentOutOfRangeException>(() => task.ToTrainingData()).Message);

    [Fact]
    public void Settings_that_cannot_be_are_refused()
    {
        Assert.Contains("Pairs is 5; expected 1 to 4", Assert.Throws<ArgumentOutOfRangeException>(() =>
            new MultiQueryRecall { Length = 16, Pairs = 5 }.ToTrainingData()).Message);
        Assert.Contains("Length is 4; expected an odd", Assert.Throws<ArgumentOutOfRangeException>(() =>
            new Compression { Length = 4 }.ToTrainingData()).Message);
        var data = new InductionHeads { Length = 32 }.ToTrainingData();
        Assert.Contains("expected at least 32", Assert.ThrowsAny<ArgumentException>(() => data.OpenReader(new(16)).ReadBatch(1)).Message);
    }
}
