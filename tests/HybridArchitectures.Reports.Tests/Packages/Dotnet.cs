using System.Diagnostics;
using System.Text;

namespace HybridArchitectures.Reports.Tests.Packages;

/// <summary>Runs the dotnet command as a user's shell would, without what the test run around it has set.</summary>
static class Dotnet
{
    public static async Task<string> Run(string folder, params string[] arguments)
    {
        using var process = Process.Start(Start(folder, arguments))!;
        var said = new StringBuilder();
        void Hear(object _, DataReceivedEventArgs line)
        {
            lock (said) said.AppendLine(line.Data);
        }
        process.OutputDataReceived += Hear;
        process.ErrorDataReceived += Hear;
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        using var limit = new CancellationTokenSource(TimeSpan.FromMinutes(10));
        try
        {
            await process.WaitForExitAsync(limit.Token);
        }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
            Assert.Fail($"dotnet {string.Join(' ', arguments)} did not end; it said:\n{said}");
        }
        Assert.True(process.ExitCode == 0, $"dotnet {string.Join(' ', arguments)} ended with {process.ExitCode}:\n{said}");
        return said.ToString();
    }

    static ProcessStartInfo Start(string folder, string[] arguments)
    {
        var start = new ProcessStartInfo(Environment.GetEnvironmentVariable("DOTNET_HOST_PATH") ?? "dotnet", arguments)
        {
            WorkingDirectory = folder,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        foreach (var name in start.Environment.Keys.Where(name => name.StartsWith("MSBUILD", StringComparison.OrdinalIgnoreCase)
            || name.StartsWith("TESTINGPLATFORM", StringComparison.OrdinalIgnoreCase)).ToArray()) start.Environment.Remove(name);
        // no server may outlive the test or be shared with the build around it
        start.Environment["MSBUILDDISABLENODEREUSE"] = "1";
        start.Environment["DOTNET_CLI_USE_MSBUILD_SERVER"] = "0";
        start.Environment["UseSharedCompilation"] = "false";
        start.Environment["OMP_NUM_THREADS"] = "1";
        // each process runs once
        start.Environment["DOTNET_TieredPGO"] = "0";
        // a property of MSBuild: libtorch is half a gigabyte
        start.Environment["CreateHardLinksForCopyLocalIfPossible"] = "true";
        return start;
    }
}
