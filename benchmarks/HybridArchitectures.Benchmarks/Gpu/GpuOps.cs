using System.Diagnostics;
using System.Text.Encodings.Web;
using System.Text.Json;
using Spectre.Console;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Benchmarks.Gpu;

/// <summary>
/// Runs the command gpu-ops, which measures every operator at its sizes and compares it with the limits of the GPU and with Python.
/// </summary>
static class GpuOps
{
    /// <summary>Writes the plus sign in names of operators as it is.</summary>
    public static readonly JsonSerializerOptions Json = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    static readonly JsonSerializerOptions Indented = new(Json) { WriteIndented = true };

    public sealed record Settings(string? JsonPath, string? Filter, string Device, bool Tiny, string Anchors, double Seconds);

    public static int Run(Settings settings)
    {
        if (GpuCases.Matching(settings.Filter, settings.Tiny).Length == 0)
            throw new ArgumentException(
            $"no operator, shape or type contains '{settings.Filter}'; operators are "
            + $"{string.Join(", ", GpuCases.All(true).Select(one => one.Op).Distinct())}");
        var device = Named(settings.Device);
        // a file or a pipe has no width
        if (Console.IsOutputRedirected) AnsiConsole.Profile.Width = 200;
        var records = new List<GpuRecord>();
        using var cheap = settings.Tiny ? new CheapThreads() : null;
        using var meter = new GpuMeter(device, settings.Seconds);
        if (meter.CopyRate() is { } rate)
        {
            MinGpuTime.BytesPerSecond = rate;
            AnsiConsole.MarkupLineInterpolated($"{meter.DeviceName}: a copy moves {rate / 1e12:0.00} TB/s");
        }
        // the limits follow from the measured rate
        var failed = Measure(settings, meter, records);
        if (device.type == DeviceType.CUDA)
        {
            var memory = GpuMemory.Run(settings.Filter, settings.Tiny, text => AnsiConsole.MarkupLineInterpolated($"[grey]{text}[/]"));
            records = [.. records.Select(record =>
                record with { PeakBytes = memory.FirstOrDefault(line => record.IsOf(line.op, line.shape, line.dtype))?.peak_bytes })];
            Write(settings.JsonPath, records);
        }
        var anchors = settings.Anchors switch
        {
            "none" => [],
            "run" => Anchors.Run(records.Select(record => record.Op), text => AnsiConsole.MarkupLineInterpolated($"[grey]{text}[/]")),
            var path => Anchors.Read(path),
        };
        records = [.. records.Select(record => Anchors.WithAnchor(record, anchors))];
        Write(settings.JsonPath, records);
        Show(records);
        return failed.Count == 0 ? 0 : 1;
    }

    /// <summary>Adds the records of the selected cases, and returns the messages of those that failed.</summary>
    static List<string> Measure(Settings settings, GpuMeter meter, List<GpuRecord> records)
    {
        var watch = Stopwatch.StartNew();
        var failed = new List<string>();
        foreach (var one in GpuCases.Matching(settings.Filter, settings.Tiny))
        {
            try
            {
                records.Add(meter.Measure(one));
                var last = records[^1];
                string inGraph = last.GraphMs is { } graph
                    ? $" (in a graph {1e3 * graph:0.0} us, {1e3 * last.OverlappingGraphMs:0.0} if calls overlap)" : "";
                string times = $"{Time(last.ForwardMs)} ms forward{inGraph}, {Time(last.TotalMs)} ms both, after {watch.Elapsed.TotalSeconds:0.0} s";
                AnsiConsole.MarkupLineInterpolated($"{one.Op}, {one.Shape}, {one.TypeName}: {times}");
                Write(settings.JsonPath, records);
            }
            catch (Exception e) when (e is System.Runtime.InteropServices.ExternalException or InvalidOperationException)
            {
                failed.Add($"{one.Op}, {one.Shape}, {one.TypeName}: {e.Message.Split('\n')[0]}");
                AnsiConsole.MarkupLineInterpolated($"[red]{failed[^1]}[/]");
            }
        }
        return failed;
    }

    /// <summary>Returns the device with a name.</summary>
    public static Device Named(string name)
    {
        if (name != "cuda") return CPU;
        return cuda.is_available() ? CUDA
            : throw new ArgumentException("no CUDA device is available to libtorch; --device cpu runs small sizes in main memory");
    }

    static void Write(string? path, List<GpuRecord> records)
    {
        if (path is null) return;
        var full = Path.GetFullPath(path);
        Directory.CreateDirectory(Path.GetDirectoryName(full)!);
        File.WriteAllText(full + ".new", JsonSerializer.Serialize(records, Indented) + "\n");
        File.Move(full + ".new", full, true);
    }

    static void Show(List<GpuRecord> records)
    {
        var table = new Table().RoundedBorder()
            .Title("times in ms, medians; share: of the minimum time of the GPU; anchor: the fastest rival in Python");
        foreach (var name in new[] { "operator", "shape", "type" }) table.AddColumn(name);
        foreach (var name in new[] { "forward", "share", "anchor", "faster", "both", "share", "anchor", "faster", "extra MB" })
            table.AddColumn(new TableColumn(name).RightAligned());
        foreach (var record in records)
            table.AddRow([.. new[] { record.Op, record.Shape, record.Type, Time(record.ForwardMs), Share(record.LimitMs, record.ForwardMs),
                Time(record.AnchorMs),
                Ratio(record.AnchorMs, record.ForwardMs), Time(record.TotalMs), Share(record.LimitTotalMs, record.TotalMs),
                Time(record.AnchorTotalMs), Ratio(record.AnchorTotalMs, record.TotalMs),
                Megabytes(record) }.Select(Markup.Escape)]);
        AnsiConsole.Write(table);
    }

    /// <summary>Prints the records of a file as a table in Markdown, as docs/internals/gpu.md shows it.</summary>
    public static int Print(string path)
    {
        var records = JsonSerializer.Deserialize<GpuRecord[]>(File.ReadAllText(path))!;
        Console.WriteLine(
            "| operator | shape | type | forward ms | of the limit | rival | forward + backward ms | of the limit | rival | extra MB |");
        Console.WriteLine("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
        foreach (var record in records)
            Console.WriteLine(
                $"| {record.Op} | {record.Shape} | {record.Type} | {Time(record.ForwardMs)} | {Share(record.LimitMs, record.ForwardMs)} | "
                + $"{Time(record.AnchorMs)} "
                + $"| {Time(record.TotalMs)} | {Share(record.LimitTotalMs, record.TotalMs)} | {Time(record.AnchorTotalMs)} | {Megabytes(record)} |");
        Console.WriteLine();
        foreach (var rival in records.Where(record => record.Anchor is not null).Select(record => $"{record.Op}, {record.Shape}: {record.Anchor}")
            .Distinct()) Console.WriteLine($"- {rival}");
        return 0;
    }

    static string Megabytes(GpuRecord record) => record.PeakBytes is { } bytes ? $"{bytes / 1e6:0}" : "-";

    static string Time(double? milliseconds) => milliseconds is { } value ? $"{value:0.000}" : "-";

    static string Share(double? limit, double? time) => limit is { } least && time is { } value ? $"{least / value:0 %}" : "-";

    static string Ratio(double? anchor, double? time) => anchor is { } rival && time is { } value ? $"{rival / value:0.00}x" : "-";

    // tiny cases are about whether everything runs: more threads than rows only wait for each other
    sealed class CheapThreads : IDisposable
    {
        readonly int before = get_num_threads();

        public CheapThreads() => set_num_threads(1);

        public void Dispose() => set_num_threads(before);
    }
}
