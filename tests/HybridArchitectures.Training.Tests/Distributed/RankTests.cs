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

    // one launch for everything that needs no failure, because the start of a process takes longer than its work
    [Theory]
    [InlineData(4)]
    [InlineData(2)]
    public async Task Runs_on_several_ranks_equal_one_on_a_single_rank_and_continue_with_other_numbers_of_ranks(int ranks)
    {
        Assert.SkipUnless(ranks == 4 || Effort.IsFull, "HYBRID_TESTS=full runs it with 2 ranks too");
        Continued.RunUntil(4, folder["one rank"]);
        var launcher = MpiLauncher.OpenMpi();
        var (code, lines) = await launcher.Run(ranks, ["all", folder.Path, .. Names]);
        Assert.True(code == 0, Dump(lines));
        foreach (string refusal in Refused) Assert.Equal(ranks, lines.Count(line => line.StartsWith("refused: ", StringComparison.Ordinal)
            && line.Contains(refusal, StringComparison.Ordinal)));
        foreach (var scenario in Scenario.All) AssertEveryStrategy(scenario, lines, ranks);
        AssertContinued(lines, ranks);
        if (!Effort.IsFull) return;
        var (ended, more) = await launcher.Run(8, "save", folder["later"], Continued.Name, "FullySharded");
        Assert.True(ended == 0, Dump(more));
        Assert.Equal(8, more.Count(line => line.Contains("ended at 8", StringComparison.Ordinal)));
        using var saved = Checkpoints.Checkpoint.Load(Path.Combine(folder["later"], "step-00000008"));
        Assert.Equal(Hash(more), Convert.ToHexString(SHA256.HashData(Scenario.Bytes(saved))));
    }

    static Scenario Continued => Scenario.Get("documents, experts, Muon");

    static readonly string[] Refused =
    [
        "Seed is 6 on rank 1; expected 5, as on rank 0.",
        "the design (line 5) is \"tiedHead\": true, on rank 1; expected \"tiedHead\": false,",
        "is \"kind\": \"mixtureOfExperts\", on rank 1; expected \"kind\": \"swiGlu\",",
        "the strategy is Replicated on rank 1; expected FullySharded, as on rank 0.",
    ];

    static void AssertEveryStrategy(Scenario scenario, string[] lines, int ranks)
    {
        var (result, skipped, _) = scenario.Run(null);
        Assert.Equal(scenario.Name == "a spike", skipped > 0);
        foreach (var strategy in scenario.Strategies)
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

    void AssertContinued(string[] lines, int ranks)
    {
        double expected = Continued.Run(null).Result.Final!.Loss;
        var runs = lines.Where(line => line.Contains(" went on by ", StringComparison.Ordinal)).Select(line => line.Split(": ", 2))
            .ToDictionary(parts => parts[0], parts => parts[1].Split(' '));
        Assert.Equal(
            ["FullySharded went on by Replicated on 1", "Hybrid went on by ShardedOptimizer on 2", "Replicated went on by FullySharded on 2",
            "ShardedOptimizer went on by Hybrid on 2", $"again went on by FullySharded on {ranks}", $"one rank went on by FullySharded on {ranks}"],
            runs.Keys.Order(StringComparer.Ordinal));
        foreach (var run in runs.Values) Assert.Equal(expected, double.Parse(run[0], CultureInfo.InvariantCulture), Tolerance * expected);
        // with the same ranks, bit-identical to a run that was not interrupted; and the file of the last checkpoint is that of the model
        string[] again = runs[$"again went on by FullySharded on {ranks}"];
        Assert.Contains($"{Continued.Name}, FullySharded: hash {again[1]}", lines);
        foreach (var (name, run) in runs)
        {
            using var saved = Checkpoints.Checkpoint.Load(Path.Combine(folder[name.Split(" went")[0]], "step-00000008"));
            Assert.Equal(run[1], Convert.ToHexString(SHA256.HashData(Scenario.Bytes(saved))));
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
    public async Task A_run_whose_rank_is_killed_stops_and_continues_with_one_rank()
    {
        var launcher = MpiLauncher.OpenMpi();
        var (result, _, straight) = Scenario.All[0].Run(null);
        foreach (int step in Effort.Choose<int[]>([5], [1, 2, 3, 4, 5, 6, 7, 8]))
        {
            string run = folder[$"run{step}"];
            var (code, lines) = await launcher.Run(2, "save", run, "full rows", "FullySharded", $"{step}");
            Assert.True(code != 0, Dump(lines));
            long last = Last(lines, "saved ", 0);
            Assert.True(last >= (step - 1) / 2 * 2, Dump(lines));
            var (resumed, _, model) = Scenario.All[0].Run(null, run);
            Assert.Equal(8, resumed.Steps);
            Assert.Equal(result.Final!.Loss, resumed.Final!.Loss, Tolerance * result.Final.Loss);
            Assert.Equal(straight.Length, model.Length);
        }
    }

    [Theory]
    [InlineData("Replicated")]
    [InlineData("ShardedOptimizer")]
    [InlineData("FullySharded")]
    [InlineData("Hybrid")]
    public async Task Runs_whose_ranks_are_killed_at_any_instant_end_bit_equal_and_lose_no_finished_save(string strategy)
    {
        Assert.SkipUnless(Effort.IsFull, "kills 20 ranks; HYBRID_TESTS=full runs it");
        var launcher = MpiLauncher.OpenMpi();
        var (straight, expected) = await launcher.Run(2, "save", folder["straight"], Continued.Name, strategy);
        Assert.True(straight == 0, Dump(expected));
        var random = new Random(20261129);
        for (int kills = 0, runs = 0; kills < 20; runs++)
        {
            long saved = 0;
            for (bool finished = false; !finished;)
            {
                string[] dies = kills < 20 ? [$"{random.Next(1500)}", $"{random.Next(2)}"] : [];
                var (code, lines) = await launcher.Run(2, ["save", folder[$"any{runs}"], Continued.Name, strategy, .. dies]);
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

    [Theory]
    [InlineData("hang", "stopped: rank 0 of 3 has waited 2 s for the others at a barrier; a rank is missing, hangs or has failed")]
    [InlineData("absent", "stopped: rank 0 of 3 has waited 2 s for the others at the start; a rank is missing")]
    [InlineData("memory", "stopped: a pass over 3 rows of 12 tokens does not fit the memory of cpu.")]
    public async Task A_rank_that_does_not_answer_or_fails_ends_the_others(string failure, string message)
    {
        Assert.SkipUnless(Effort.IsFull, "waits; HYBRID_TESTS=full runs it");
        var (code, lines) = await MpiLauncher.OpenMpi().Run(3, failure);
        Assert.True(code != 0, Dump(lines));
        Assert.Contains(lines, line => line.StartsWith(message, StringComparison.Ordinal));
    }

    [Fact]
    public void One_process_is_one_rank()
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
