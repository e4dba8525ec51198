using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Serialization;
using HybridArchitectures.Kernels.Runtime;
using Spectre.Console;
using static TorchSharp.torch;

namespace HybridArchitectures.Benchmarks.Gpu;

/// <summary>
/// Runs the command gpu-calls, which measures what one call costs the host at sizes where the GPU has almost nothing to do, and the managed memory
/// that the call allocates.
/// </summary>
static class GpuCalls
{
    const int Calls = 500, WarmUp = 300;

    public sealed record Record
    {
        [JsonPropertyName("op")]
        public required string Op { get; init; }

        [JsonPropertyName("shape")]
        public required string Shape { get; init; }

        [JsonPropertyName("dtype")]
        public required string Type { get; init; }

        /// <summary>Gets the host time of a forward call without gradients, in microseconds.</summary>
        [JsonPropertyName("forward_us")]
        public required double ForwardUs { get; init; }

        /// <summary>Gets the host time of forward and backward, in microseconds.</summary>
        [JsonPropertyName("total_us")]
        public double? TotalUs { get; init; }

        /// <summary>Gets the managed memory allocated by a forward call.</summary>
        [JsonPropertyName("forward_bytes")]
        public required long ForwardBytes { get; init; }

        [JsonPropertyName("device")]
        public required string Device { get; init; }
    }

    public static int Run(string? jsonPath, string deviceName)
    {
        var device = GpuOps.Named(deviceName);
        var records = GpuCases.All(true).Where(one => one.Type == ScalarType.BFloat16).Select(one => Measure(one, device, deviceName)).ToArray();
        var table = new Table().RoundedBorder().Title("what a call costs the host");
        foreach (var name in new[] { "operator", "shape" }) table.AddColumn(name);
        foreach (var name in new[] { "forward us", "both us", "forward bytes" }) table.AddColumn(new TableColumn(name).RightAligned());
        foreach (var record in records)
            table.AddRow(record.Op, record.Shape, $"{record.ForwardUs:0.0}", record.TotalUs is { } both ? $"{both:0.0}" : "-",
            $"{record.ForwardBytes}");
        AnsiConsole.Write(table);
        if (jsonPath is not null)
            File.WriteAllText(jsonPath, JsonSerializer.Serialize(records, new JsonSerializerOptions(GpuOps.Json) { WriteIndented = true }) + "\n");
        return 0;
    }

    static Record Measure(GpuCase one, Device device, string deviceName)
    {
        manual_seed(0);
        using var inputs = new GpuInputs(device, one.Type);
        var call = one.Prepare(inputs);
        void Forward()
        {
            using var scope = NewDisposeScope();
            using var noGrad = no_grad();
            call();
        }
        void Both()
        {
            using var scope = NewDisposeScope();
            using var sum = call().sum();
            Autograd.Backward(sum);
            inputs.ForgetGradients();
        }
        var (forward, bytes) = Cost(Forward, device);
        return new()
        {
            Op = one.Op, Shape = one.Shape, Type = one.TypeName, ForwardUs = forward, ForwardBytes = bytes,
            TotalUs = one.Differentiates ? Cost(Both, device).Microseconds : null, Device = deviceName,
        };
    }

    // the minimum of several batches: the time of the host when nothing else runs
    static (double Microseconds, long Bytes) Cost(Action call, Device device)
    {
        // .NET compiles what runs often once more, a tenth of a second after it saw that
        for (int round = 0; round < 3; round++)
        {
            for (int i = 0; i < WarmUp; i++) call();
            Thread.Sleep(200);
        }
        double best = double.MaxValue;
        long bytes = 0;
        for (int batch = 0; batch < 5; batch++)
        {
            if (device.type == TorchSharp.DeviceType.CUDA) cuda.synchronize();
            long before = GC.GetAllocatedBytesForCurrentThread();
            var watch = Stopwatch.StartNew();
            for (int i = 0; i < Calls / 5; i++) call();
            best = Math.Min(best, watch.Elapsed.TotalMicroseconds / (Calls / 5));
            bytes = (GC.GetAllocatedBytesForCurrentThread() - before) / (Calls / 5);
        }
        return (best, bytes);
    }
}
