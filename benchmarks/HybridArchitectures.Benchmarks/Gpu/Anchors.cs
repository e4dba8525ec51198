using System.Diagnostics;
using System.Text.Json;

namespace HybridArchitectures.Benchmarks.Gpu;

/// <summary>The same operators in Python, measured by a process of their own: PyTorch's, and mamba_ssm's and causal_conv1d's where they are installed.</summary>
static class Anchors
{
    static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);

    /// <summary>One rival's times.</summary>
    public sealed record Line(string op, string shape, string dtype, string anchor, double? forward_ms, double? total_ms);

    /// <summary>Runs the rivals of the given operators; what went wrong is passed to <paramref name="report"/>, and what was measured until then is given.</summary>
    public static IReadOnlyList<Line> Run(IEnumerable<string> ops, Action<string> report)
    {
        var script = Path.Combine(AppContext.BaseDirectory, "anchors", "gpu_ops.py");
        var start = new ProcessStartInfo("python3") { RedirectStandardOutput = true, RedirectStandardError = true };
        start.ArgumentList.Add(script);
        foreach (var op in ops.Distinct()) start.ArgumentList.Add(op);
        Process process;
        try
        {
            process = Process.Start(start)!;
        }
        catch (System.ComponentModel.Win32Exception e)
        {
            report($"no anchors: python3 cannot be started ({e.Message})");
            return [];
        }
        using (process)
        {
            var lines = new List<Line>();
            var errors = new List<string>();
            process.OutputDataReceived += (_, data) =>
            {
                if (data.Data is null) return;
                if (!data.Data.StartsWith('{')) report(data.Data);
                else if (JsonSerializer.Deserialize<Line>(data.Data) is { } line) lock (lines) lines.Add(line);
            };
            process.ErrorDataReceived += (_, data) => { if (data.Data is not null) lock (errors) errors.Add(data.Data); };
            process.BeginOutputReadLine();
            process.BeginErrorReadLine();
            if (!process.WaitForExit(Patience))
            {
                process.Kill(true);
                report($"anchors stopped after {Patience.TotalMinutes} minutes");
            }
            process.WaitForExit();
            if (process.ExitCode != 0) report($"anchors ended with code {process.ExitCode}: {errors.LastOrDefault()}");
            return lines;
        }
    }

    /// <summary>The anchors of an earlier run's records.</summary>
    public static IReadOnlyList<Line> Read(string path)
    {
        var records = JsonSerializer.Deserialize<GpuRecord[]>(File.ReadAllText(path)) ?? throw new InvalidDataException($"{path} holds no records");
        return [.. records.Where(record => record.AnchorMs is not null)
            .Select(record => new Line(record.Op, record.Shape, record.Type, record.Anchor ?? "", record.AnchorMs, record.AnchorTotalMs))];
    }

    /// <summary>The record with the fastest rival forwards and the fastest one for both passes.</summary>
    public static GpuRecord Beside(GpuRecord record, IReadOnlyList<Line> lines)
    {
        var own = lines.Where(line => record.IsOf(line.op, line.shape, line.dtype)).ToArray();
        var forward = own.Where(line => line.forward_ms is not null).MinBy(line => line.forward_ms);
        var total = own.Where(line => line.total_ms is not null).MinBy(line => line.total_ms);
        var names = new[] { forward?.anchor, total?.anchor }.Where(name => name is not null).Distinct().ToArray();
        return record with { AnchorMs = forward?.forward_ms, AnchorTotalMs = total?.total_ms, Anchor = names.Length == 0 ? null : string.Join(" / ", names) };
    }
}
