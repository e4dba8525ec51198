using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;

namespace HybridArchitectures.Training.Tests.Running;

/// <summary>Kills training processes (SIGKILL) at random instants and in the middle of saves.</summary>
public sealed class KillTests : IDisposable
{
    const int Steps = 60;
    internal static readonly string Program = Path.GetFullPath(
        Path.Combine(AppContext.BaseDirectory, "../../../../KilledRun/bin", new DirectoryInfo(AppContext.BaseDirectory).Parent!.Name, "net10.0",
        "KilledRun.dll"));
    static readonly int Wanted = Effort.Choose(everyday: 5, full: 50);

    readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    /// <summary>Runs a process. Returns the lines that it wrote, and whether it finished.</summary>
    static async Task<(List<string> Lines, bool Finished)> Run(string run, string mode, int number, string? killAfter = null, int milliseconds = 0)
    {
        var start = new ProcessStartInfo(
            "dotnet", [Program, run, $"{Steps}", mode, $"{number}"]) { RedirectStandardOutput = true, RedirectStandardError = true };
        start.Environment["OMP_NUM_THREADS"] = "1";
        start.Environment["DOTNET_TieredPGO"] = "0";
        using var process = Process.Start(start)!;
        var errors = process.StandardError.ReadToEndAsync();
        var lines = new List<string>();
        while (await process.StandardOutput.ReadLineAsync() is { } line)
        {
            lines.Add(line);
            if (killAfter is not null && lines.Count(said => said.StartsWith(killAfter, StringComparison.Ordinal)) == 1
                && line.StartsWith(killAfter, StringComparison.Ordinal))
                _ = Task.Delay(milliseconds).ContinueWith(
                _ => { try { process.Kill(); } catch (InvalidOperationException) { } }, TaskScheduler.Default);
        }
        await process.WaitForExitAsync();
        bool finished = process.ExitCode == 0;
        Assert.True(finished || process.ExitCode == 137, $"exit code {process.ExitCode}: {await errors}");
        return (lines, finished);
    }

    static long Last(List<string> lines, string word, long otherwise) =>
        lines.Where(line => line.StartsWith(word, StringComparison.Ordinal))
            .Select(line => long.Parse(line[word.Length..], CultureInfo.InvariantCulture)).DefaultIfEmpty(otherwise).Last();

    static void AssertSame(string expected, string actual)
    {
        Assert.Equal(Directory.GetFileSystemEntries(expected).Select(Path.GetFileName).Order(),
            Directory.GetFileSystemEntries(actual).Select(Path.GetFileName).Order());
        foreach (var checkpoint in Directory.GetDirectories(expected).Select(Path.GetFileName))
        {
            foreach (var file in new[] { "model.safetensors", "optimizer.safetensors", "design.json" })
                Assert.True(File.ReadAllBytes(Path.Combine(expected, checkpoint!, file)).AsSpan()
                    .SequenceEqual(File.ReadAllBytes(Path.Combine(actual, checkpoint!, file))), $"{checkpoint}/{file} differs");
            Assert.Equal(WithoutClock(Path.Combine(expected, checkpoint!)), WithoutClock(Path.Combine(actual, checkpoint!)));
        }
    }

    static string WithoutClock(string checkpoint)
    {
        var state = JsonNode.Parse(File.ReadAllText(Path.Combine(checkpoint, "training.json")))!.AsObject();
        state.Remove("elapsedSeconds");
        state.Remove("checksum");
        state["options"]!.AsObject().Remove("folder");
        foreach (var report in state["history"]!.AsArray())
            foreach (var name in new[] { "tokensPerSecond", "elapsed", "timeLeft" }) report!.AsObject().Remove(name);
        foreach (var point in state["evaluations"]!.AsArray()) point!.AsObject().Remove("elapsed");
        return state.ToJsonString();
    }

    static Task<(List<string> Lines, bool Finished)> RunKilled(string run, int kind, Random random, int points) => kind switch
    {
        0 => Run(run, "plain", 0, "began", random.Next(400)),       // at any instant of training
        1 => Run(run, "slow", 0, "began", random.Next(1500)),       // while saves take long
        2 => Run(run, "die", 1 + random.Next(points)),              // by itself, at some step of writing and deleting checkpoints
        3 => Run(run, "plain", 0, "ready", random.Next(800)),       // while it starts
        _ => Run(run, "plain", 0),                                  // not at all
    };

    [Fact]
    public async Task Runs_killed_at_any_instant_end_bit_equal_and_lose_no_finished_save()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux() || OperatingSystem.IsMacOS(), "exit codes of killed processes are those of Unix");
        Assert.True(File.Exists(Program), $"no program '{Program}'; the build of this project makes it");
        var (lines, straightFinished) = await Run(folder["straight"], "plain", 0);
        Assert.True(straightFinished);
        int points = 30 * lines.Count(line => line.StartsWith("saved", StringComparison.Ordinal));
        var random = new Random(20260714);
        int kills = 0, runs = 0, inTraining = 0, inSaves = 0;
        while (kills < Wanted)
        {
            var run = folder[$"run{runs++}"];
            long saved = 0;
            for (bool finished = false; !finished;)
            {
                int kind = kills >= Wanted ? 4 : kills % 7 == 5 ? 3 : kills % 3;
                (lines, finished) = await RunKilled(run, kind, random, points);
                if (!finished)
                {
                    kills++;
                    if (kind == 2) inSaves++;
                    else if (Last(lines, "began ", -1) >= 0) inTraining++;
                }
                long began = Last(lines, "began ", saved);
                Assert.True(began >= saved, $"after kill {kills} the run went on from step {began}, but step {saved} had been saved");
                saved = Last(lines, "saved ", began);
            }
            AssertSame(folder["straight"], run);
        }
        TestContext.Current.TestOutputHelper?.WriteLine(
            $"{kills} kills in {runs} runs: {inTraining} while training, {inSaves} at a step of saving, the others at the start");
    }
}
