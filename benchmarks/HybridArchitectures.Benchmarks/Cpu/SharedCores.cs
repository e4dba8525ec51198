using System.Diagnostics;
using System.Globalization;
using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Training.Optimization;
using static TorchSharp.torch;

namespace HybridArchitectures.Benchmarks.Cpu;

/// <summary>
/// Measures a training step on cores that other programs use as well, for several ways in which the threads of libtorch wait. Each measurement runs
/// in a separate process, because OpenMP reads its environment once. Settings take turns, so that changes of the machine affect all of them alike.
/// </summary>
static class SharedCores
{
    const int Rows = 4, ContextLength = 256;

    static readonly string[] Settings =
    [
        "", "GOMP_SPINCOUNT=0", "GOMP_SPINCOUNT=1000", "GOMP_SPINCOUNT=5000", "GOMP_SPINCOUNT=20000", "GOMP_SPINCOUNT=300000",
        "OMP_WAIT_POLICY=PASSIVE", "OMP_NUM_THREADS=1",
    ];

    /// <summary>
    /// Measures all settings next to 0, 1 and as many busy processes as there are cores, and prints a table. Returns 1 if a measurement failed; it
    /// is reported, and the others continue.
    /// </summary>
    public static int Run(int rounds, double seconds, string? only)
    {
        int[] neighbours = [.. new[] { 0, 1, Environment.ProcessorCount }.Distinct().Where(count => only is null || only == $"{count}")];
        Console.WriteLine(
            $"median ms of a training step, {Rows} x {ContextLength} tokens, Transformer of {Design().CountParameters().Total / 1e6:f1} M; "
            + $"{Environment.ProcessorCount} cores; best of {rounds} rounds of {seconds} s");
        Console.WriteLine($"{"setting",-26}{string.Concat(neighbours.Select(count => $"{count,4} busy"))}");
        int failures = 0;
        var table = Settings.ToDictionary(setting => setting, _ => new Dictionary<int, double>());
        for (int round = 0; round < rounds; round++)
            foreach (int count in neighbours)
                foreach (var setting in Settings)
                {
                    try
                    {
                        double measured = NextToBusy(count, () => Measure(setting, seconds));
                        table[setting][count] = Math.Min(measured, table[setting].GetValueOrDefault(count, double.PositiveInfinity));
                    }
                    catch (IOException e)
                    {
                        Console.Error.WriteLine(e.Message);
                        failures++;
                    }
                }
        foreach (var setting in Settings)
        {
            var cells = neighbours.Select(count => string.Create(
                CultureInfo.InvariantCulture, $"{table[setting].GetValueOrDefault(count, double.NaN),9:f1}"));
            Console.WriteLine($"{Name(setting),-26}{string.Concat(cells)}");
        }
        return failures == 0 ? 0 : 1;
    }

    /// <summary>Takes steps for a time and prints the median of their milliseconds.</summary>
    public static int Step(double seconds)
    {
        using var scope = NewDisposeScope();
        using var model = Design().CreateModel(seed: 1);
        using var optimizer = new AdamW(model.Parameters.Select(parameter => (parameter.Name, parameter.Value, parameter.Decays)));
        var (ids, targets) = (randint(0, 256, [Rows, ContextLength], ScalarType.Int64), randint(0, 256, [Rows, ContextLength], ScalarType.Int64));
        var times = new List<double>();
        var total = Stopwatch.StartNew();
        for (int step = 0; step < 5 || total.Elapsed.TotalSeconds < seconds; step++)
        {
            var watch = Stopwatch.StartNew();
            using (NewDisposeScope())
            {
                Autograd.Backward(model.Loss(ids, targets).Total);
                optimizer.Step(1e-3);
            }
            if (step >= 2) times.Add(watch.Elapsed.TotalMilliseconds);
        }
        times.Sort();
        Console.WriteLine(times[times.Count / 2].ToString("f3", CultureInfo.InvariantCulture));
        return 0;
    }

    static HybridDesign Design() =>
        HybridDesign.Create(128, 256).WithAttention(heads: 4).WithFeedForward(FeedForwardSpec.SwiGlu(352)).Depth(6).Pattern("T", 6).Build();

    static string Name(string setting) => setting.Length == 0 ? "(default)" : setting;

    static double Measure(string setting, double seconds)
    {
        var start = new ProcessStartInfo(
            "dotnet", [typeof(SharedCores).Assembly.Location, "cpu-step", "--seconds",
            seconds.ToString(CultureInfo.InvariantCulture)]) { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (var name in new[] { "GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS", "KMP_BLOCKTIME" }) start.Environment.Remove(name);
        if (setting.Split('=') is [var variable, var value]) start.Environment[variable] = value;
        using var process = Process.Start(start)!;
        var errors = process.StandardError.ReadToEndAsync();
        var text = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        // the number is the last line: a runtime or a library may print before it
        var last = text.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries).LastOrDefault();
        if (process.ExitCode == 0 && double.TryParse(last, CultureInfo.InvariantCulture, out double milliseconds)) return milliseconds;
        throw new IOException(
            $"A training step with {Name(setting)} was not measured: its process ended with exit code {process.ExitCode} and printed "
            + $"'{text.Trim()}'. {errors.Result.Trim()}");
    }

    static double NextToBusy(int busy, Func<double> measure)
    {
        var others = Enumerable.Range(0, busy).Select(_ => Process.Start("dotnet", [typeof(SharedCores).Assembly.Location, "cpu-busy"])).ToArray();
        try
        {
            return measure();
        }
        finally
        {
            foreach (var other in others)
            {
                other.Kill();
                other.WaitForExit();
                other.Dispose();
            }
        }
    }

    /// <summary>Computes until it is killed.</summary>
    public static int Busy()
    {
        for (double x = 1; ; x = Math.Sqrt(x + 1))
            if (x < 0) return 1;
    }
}
