using System.Diagnostics;
using HybridArchitectures.Checkpoints;

namespace HybridArchitectures.Training.Tests.Running;

/// <summary>Tests several processes that save to one folder and load from it, while others are killed in the middle of saves.</summary>
public sealed class SharedSavesTests : IDisposable
{
    readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    static async Task<(int ExitCode, string Said)> Run(string target, int count, int dieAt)
    {
        string[] arguments = [KillTests.Program, "saves", target, $"{count}", $"{dieAt}"];
        var start = new ProcessStartInfo("dotnet", arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        start.Environment["OMP_NUM_THREADS"] = "1";
        using var process = Process.Start(start)!;
        var errors = process.StandardError.ReadToEndAsync();
        var said = await process.StandardOutput.ReadToEndAsync();
        await process.WaitForExitAsync();
        return (process.ExitCode, said + await errors);
    }

    [Fact]
    public async Task Processes_save_to_one_folder_and_no_save_or_load_fails_even_where_some_die()
    {
        Assert.SkipWhen(UnderWine.IsOn, "there is no dotnet command under Wine");
        int saves = Effort.Choose(everyday: 40, full: 1000), deaths = Effort.Choose(everyday: 3, full: 60);
        var target = folder["model"];
        var living = new[] { Run(target, saves, 0), Run(target, saves, 0) };
        var random = new Random(20261129);
        for (int death = 0; death < deaths; death++)
        {
            var (code, said) = await Run(target, saves, 1 + random.Next(60));
            Assert.DoesNotContain("failed", said);
            if (OperatingSystem.IsLinux() || OperatingSystem.IsMacOS()) Assert.True(code is 137 or 0, said);
        }
        foreach (var (code, said) in await Task.WhenAll(living))
        {
            Assert.True(code == 0, said);
            Assert.Contains($"done {saves} with 0 failures", said);
        }
        // the next save clears what the dead left of exchanges; what they left half written goes when it is an hour old
        Assert.Equal(0, (await Run(target, 1, 0)).ExitCode);
        Assert.DoesNotContain(Directory.GetFileSystemEntries(folder.Path), path => path.EndsWith(".old", StringComparison.Ordinal)
            || path.EndsWith(".lock", StringComparison.Ordinal));
        using var last = Checkpoint.Load(target);
    }
}
