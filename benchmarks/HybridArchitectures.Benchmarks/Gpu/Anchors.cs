using System.Diagnostics;
using System.Text.Json;

namespace HybridArchitectures.Benchmarks.Gpu;

/// <summary>
/// Measures the same operators in Python in a separate process: those of PyTorch, and those of mamba_ssm and causal_conv1d where they are installed.
/// </summary>
static class Anchors
{
    static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);

    /// <summary>Contains the times of one rival.</summary>
    public sealed record Line(string op, string shape, string dtype, string anchor, double? forward_ms, double? total_ms);

    /// <summary>
    /// Runs the rivals of the given operators. Errors are passed to <paramref name="report"/>, and the measurements before them are returned.
    /// </summary>
    public static IReadOnlyList<Line> Run(IEnumerable<string> ops, Action<string> report)
    {
        var script = Path.Combine(AppContext.BaseDirectory, "anchors", "gpu_ops.py");
        var start = new ProcessStartInfo("python3");
        start.ArgumentList.Add(script);
        foreach (var op in ops.Distinct()) start.ArgumentList.Add(op);
        return JsonLines.FromProcess<Line>(start, "anchors", Patience, report);
    }

    /// <summary>Returns the anchors of an earlier run, from its records or from the lines that the script printed.</summary>
    public static IReadOnlyList<Line> Read(string path)
    {
        var text = File.ReadAllText(path);
        if (!text.TrimStart().StartsWith('['))
            return [.. text.Split('\n').Where(line => line.StartsWith('{')).Select(line => JsonSerializer.Deserialize<Line>(line)!)];
        return [.. JsonSerializer.Deserialize<GpuRecord[]>(text)!.Where(record => record.AnchorMs is not null)
            .Select(record => new Line(record.Op, record.Shape, record.Type, record.Anchor ?? "", record.AnchorMs, record.AnchorTotalMs))];
    }

    /// <summary>Returns the record with the fastest rival forwards and the fastest one for both passes.</summary>
    public static GpuRecord WithAnchor(GpuRecord record, IReadOnlyList<Line> lines)
    {
        var alike = record with { Shape = record.Shape.Replace(GpuCases.AllLogits, "") };
        var own = lines.Where(line => alike.IsOf(line.op, line.shape, line.dtype)).ToArray();
        var forward = own.Where(line => line.forward_ms is not null).MinBy(line => line.forward_ms);
        var total = own.Where(line => line.total_ms is not null).MinBy(line => line.total_ms);
        var names = new[] { forward?.anchor, total?.anchor }.Where(name => name is not null).Distinct().ToArray();
        return record with { AnchorMs = forward?.forward_ms, AnchorTotalMs = total?.total_ms,
            Anchor = names.Length == 0 ? null : string.Join(" / ", names) };
    }
}
