using System.Globalization;
using System.Security.Cryptography;
using HybridArchitectures.Training.Distributed;
using HybridArchitectures.Training.Running;
using HybridArchitectures.Training.Tests.Running;
using RankedRun;

namespace HybridArchitectures.Training.Tests.Distributed;

/// <summary>Trains on several processes over MPI, and compares them with one process.</summary>
public sealed class RankTests : IDisposable
{
    // rounding of float32 sums in another order, over 8 steps
    const double Tolerance = 2e-6;

    readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    static string[] Names => [.. Scenario.All.Select(scenario => scenario.Name)];

    static string Dump(string[] lines) => string.Join('\n', lines);

    static double[][] Numbers(string[] lines, string prefix) => [.. lines.Where(line => line.StartsWith(prefix, StringComparison.Ordinal))
        .Select(line => line[prefix.Length..].Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(number => double.Parse(number,
        CultureInfo.InvariantCulture)).ToArray())];

    [Theory]
    [InlineData(2)]
    [InlineData(4)]
    public async Task A_run_on_several_ranks_equals_one_on_a_single_rank(int ranks)
    {
        Assert.SkipUnless(ranks == 2 || Effort.IsFull, "HYBRID_TESTS=full runs it; another test has 4 ranks");
        var (code, lines) = await MpiLauncher.OpenMpi().Run(ranks, ["train", .. Names]);
        Assert.True(code == 0, Dump(lines));
        string refusal = string.Create(CultureInfo.InvariantCulture, $"refused: Seed is 6 on rank 1; expected 5, as on rank 0.");
        Assert.Equal(ranks, lines.Count(line => line == refusal));
        foreach (var scenario in Scenario.All)
        {
            var (result, skipped, _) = scenario.Run(null);
            Assert.Equal(scenario.Name == "a spike", skipped > 0);
            foreach (string strategy in new[] { "Replicated", "ShardedOptimizer" })
            {
                string prefix = $"{scenario.Name}, {strategy}: ";
                string[] own = [.. lines.Where(line => line.StartsWith(prefix, StringComparison.Ordinal)).Select(line => line[prefix.Length..])];
                // steps that are too large amplify rounding
                AssertEqual(result, own, scenario.Name == "a spike" ? 10 * Tolerance : Tolerance);
                Assert.Equal(Enumerable.Repeat((double)skipped, ranks), Numbers(own, "skipped ").Select(numbers => numbers[0]));
                // bit-identical on all ranks
                var hashes = own.Where(line => line.StartsWith("hash ", StringComparison.Ordinal)).ToArray();
                Assert.Equal(ranks, hashes.Length);
                Assert.Single(hashes.Distinct());
            }
        }
    }

    static void AssertEqual(TrainingResult result, string[] lines, double tolerance)
    {
        var reports = Numbers([.. lines.Where(line => char.IsDigit(line[0]))], "");
        Assert.Equal(result.History.Count, reports.Length);
        foreach (var (expected, actual) in result.History.Zip(reports))
        {
            Assert.Equal(expected.Step, actual[0]);
            Assert.Equal(expected.Loss, actual[1], tolerance * expected.Loss);
            Assert.Equal(expected.GradientNorm, actual[2], 10 * tolerance * expected.GradientNorm);
        }
        var points = Numbers(lines, "held-out ");
        Assert.Equal(result.Evaluations.Count, points.Length);
        foreach (var (expected, actual) in result.Evaluations.Zip(points))
            Assert.Equal(expected.Result.Loss, actual[1], tolerance * expected.Result.Loss);
    }

    [Fact]
    public async Task Every_operation_works_over_MPICH_too()
    {
        var (code, lines) = await MpiLauncher.Mpich().Run(2, "check");
        Assert.True(code == 0, Dump(lines));
        Assert.Equal(2, lines.Count(line => line.Contains("of 2 on MPICH", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task A_run_whose_rank_is_killed_stops_and_goes_on_with_another_number_of_ranks()
    {
        var launcher = MpiLauncher.OpenMpi();
        var (result, _, straight) = Scenario.All[0].Run(null);
        foreach (int step in Effort.Choose<int[]>([5], [1, 2, 3, 4, 5, 6, 7, 8]))
        {
            string run = folder[$"run{step}"];
            var (code, lines) = await launcher.Run(2, "save", run, "full rows", $"{step}");
            Assert.True(code != 0, Dump(lines));
            int last = lines.Where(line => line.StartsWith("saved", StringComparison.Ordinal)).Select(line => int.Parse(line[6..],
                CultureInfo.InvariantCulture)).DefaultIfEmpty(0).Max();
            Assert.True(last >= (step - 1) / 2 * 2, Dump(lines));
            var (resumed, _, model) = Scenario.All[0].Run(null, run);
            Assert.Equal(8, resumed.Steps);
            Assert.Equal(result.Final!.Loss, resumed.Final!.Loss, Tolerance * result.Final.Loss);
            Assert.Equal(straight.Length, model.Length);
        }
        // from one rank to four
        string single = folder["single"];
        Scenario.All[0].RunUntil(4, single);
        var (ended, all) = await launcher.Run(4, "save", single, "full rows");
        Assert.True(ended == 0, Dump(all));
        var hashes = all.Where(line => line.StartsWith("rank", StringComparison.Ordinal)).Select(line => line.Split(' ')[^1]).ToArray();
        Assert.Equal(4, hashes.Length);
        Assert.Single(hashes.Distinct());
        using var saved = Checkpoints.Checkpoint.Load(Path.Combine(single, "step-00000008"));
        Assert.Equal(hashes[0], Convert.ToHexString(SHA256.HashData(Scenario.Bytes(saved))));
    }

    [Fact]
    public async Task Runs_whose_ranks_are_killed_at_any_instant_end_bit_equal_and_lose_no_finished_save()
    {
        Assert.SkipUnless(Effort.IsFull, "kills 20 ranks; HYBRID_TESTS=full runs it");
        var launcher = MpiLauncher.OpenMpi();
        var (straight, expected) = await launcher.Run(2, "save", folder["straight"], "documents, experts, Muon");
        Assert.True(straight == 0, Dump(expected));
        var random = new Random(20261129);
        for (int kills = 0, runs = 0; kills < 20; runs++)
        {
            long saved = 0;
            for (bool finished = false; !finished;)
            {
                string[] dies = kills < 20 ? [$"{random.Next(1500)}", $"{random.Next(2)}"] : [];
                var (code, lines) = await launcher.Run(2, ["save", folder[$"any{runs}"], "documents, experts, Muon", .. dies]);
                finished = lines.Count(line => line.Contains("ended at 8", StringComparison.Ordinal)) == 2;
                Assert.True(finished || code != 0, Dump(lines));
                if (!finished) kills++;
                long began = Last(lines, "began ", saved);
                Assert.True(began >= saved, $"step {saved} was saved, but the run went on from {began}: {Dump(lines)}");
                saved = Last(lines, "saved ", began);
                if (finished) Assert.Equal(Hash(expected), Hash(lines));
            }
        }
    }

    static long Last(string[] lines, string word, long otherwise) => lines.Where(line => line.StartsWith(word, StringComparison.Ordinal))
        .Select(line => long.Parse(line[word.Length..], CultureInfo.InvariantCulture)).DefaultIfEmpty(otherwise).Max();

    static string Hash(string[] lines) => lines.First(line => line.Contains("ended at 8", StringComparison.Ordinal)).Split(' ')[^1];

    [Fact]
    public async Task A_rank_that_fails_ends_the_others()
    {
        Assert.SkipUnless(Effort.IsFull, "HYBRID_TESTS=full runs it");
        var (code, lines) = await MpiLauncher.OpenMpi().Run(3, "fail");
        Assert.True(code != 0, Dump(lines));
        Assert.Single(lines, line => line.Contains("this rank is broken", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_process_without_its_launcher_is_refused()
    {
        var (code, lines) = await MpiLauncher.Alone("RANK=0", "WORLD_SIZE=2").Run(1, "check");
        Assert.True(code != 0, Dump(lines));
        Assert.Contains(lines, line => line.Contains("torchrun has started 2 processes, but Open MPI", StringComparison.Ordinal)
            && line.Contains("connects 1; expected the same number; start the program with the mpirun", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_rank_that_does_not_answer_ends_the_others_in_the_stated_time()
    {
        Assert.SkipUnless(Effort.IsFull, "waits; HYBRID_TESTS=full runs it");
        var (code, lines) = await MpiLauncher.OpenMpi().Run(3, "hang");
        Assert.True(code != 0, Dump(lines));
        Assert.Contains(lines, line => line.Contains("has waited 2 s for the others at a barrier; a rank is missing, hangs or has failed",
            StringComparison.Ordinal));
    }

    [Fact]
    public void One_process_is_a_rank_of_its_own()
    {
        using var ranks = Collectives.Connect();
        CollectiveChecks.Run(ranks);
        Assert.True(ranks is { Rank: 0, Size: 1, LocalRank: 0, IsFirst: true, Library: "one process" });
        var (alone, _, first) = Scenario.All[0].Run(null);
        var (together, _, second) = Scenario.All[0].Run(new DataParallel(ranks));
        Assert.Equal(alone.Final, together.Final);
        Assert.Equal(first, second);
    }
}
