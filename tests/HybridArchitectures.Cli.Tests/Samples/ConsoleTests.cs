using System.Diagnostics;
using System.Text;

namespace HybridArchitectures.Cli.Tests.Samples;

/// <summary>Programs print UTF-8, whatever the code page of the console is.</summary>
public class ConsoleTests
{
    public static TheoryData<string> Samples =>
    [
        .. Directory.GetFiles(Path.Combine(Repository.Root, "samples"), "Program.cs", SearchOption.AllDirectories)
            .Where(path => !path.Contains($"{Path.DirectorySeparatorChar}obj{Path.DirectorySeparatorChar}"))
            .Select(path => Path.GetFileName(Path.GetDirectoryName(path)!)),
    ];

    [Theory]
    [MemberData(nameof(Samples))]
    public void A_sample_prepares_its_console_first(string sample)
    {
        var statements = File.ReadLines(Path.Combine(Repository.Root, "samples", sample, "Program.cs"))
            .Where(line => line.Length > 0 && !line.StartsWith("//", StringComparison.Ordinal))
            .Where(line => !line.StartsWith("using ", StringComparison.Ordinal));
        Assert.Equal("SampleConsole.Prepare();", statements.First());
    }

    [Theory]
    [InlineData("samples/Quickstart", "Quickstart", "--data", "/no/Wörter")]
    [InlineData("src/HybridArchitectures.Cli", "hybrid", "cost", "/no/Wörter")]
    public async Task A_program_prints_UTF8_in_a_Latin_1_console(string folder, string name, params string[] arguments)
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "the encoding of the console is set by an environment variable here");
        // the parts "bin", configuration and framework are those of this program
        string[] built = AppContext.BaseDirectory.TrimEnd('/').Split('/')[^3..];
        var start = new ProcessStartInfo(
            Environment.GetEnvironmentVariable("DOTNET_HOST_PATH") ?? "dotnet",
            [Path.Combine([Repository.Root, folder, .. built, $"{name}.dll"]), .. arguments])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            StandardOutputEncoding = Encoding.Latin1,
            StandardErrorEncoding = Encoding.Latin1,
        };
        start.Environment["LC_ALL"] = "de_DE.ISO-8859-1";
        using var process = Process.Start(start)!;
        var errors = process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        string said = await process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken) + await errors;
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.NotEqual(0, process.ExitCode);
        // what is read byte by byte is the UTF-8 of the word
        Assert.Contains(Encoding.Latin1.GetString("Wörter"u8), said);
    }
}
