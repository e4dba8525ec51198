using System.Diagnostics;
using System.Text.Json;

namespace HybridArchitectures.Benchmarks.Gpu;

/// <summary>Runs a program and takes what it prints: lines of JSON are results, others remarks.</summary>
static class JsonLines
{
    /// <summary>Returns what was printed until the program ended or the time was over. Errors are passed to <paramref name="report"/>.</summary>
    public static IReadOnlyList<T> FromProcess<T>(ProcessStartInfo start, string what, TimeSpan patience, Action<string> report)
    {
        start.RedirectStandardOutput = start.RedirectStandardError = true;
        Process process;
        try
        {
            process = Process.Start(start)!;
        }
        catch (System.ComponentModel.Win32Exception e)
        {
            report($"no {what}: {start.FileName} cannot be started ({e.Message})");
            return [];
        }
        using (process)
        {
            var lines = new List<T>();
            var errors = new List<string>();
            process.OutputDataReceived += (_, data) =>
            {
                if (data.Data is null) return;
                if (!data.Data.StartsWith('{')) report(data.Data);
                else if (JsonSerializer.Deserialize<T>(data.Data) is { } line) lock (lines) lines.Add(line);
            };
            process.ErrorDataReceived += (_, data) => { if (!string.IsNullOrWhiteSpace(data.Data)) lock (errors) errors.Add(data.Data); };
            process.BeginOutputReadLine();
            process.BeginErrorReadLine();
            if (!process.WaitForExit(patience))
            {
                process.Kill(true);
                report($"{what} stopped after {patience.TotalMinutes} minutes");
            }
            process.WaitForExit();
            if (process.ExitCode != 0) report($"{what} ended with code {process.ExitCode}: {errors.LastOrDefault()}");
            return lines;
        }
    }
}
