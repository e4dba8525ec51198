using System.Diagnostics;
using static TorchSharp.torch;

namespace HybridArchitectures.Benchmarks.Cpu;

/// <summary>Measures the physical limits of this machine.</summary>
sealed record CpuMachine(double BytesPerSecond, double FlopsPerSecond, double ExponentialsPerSecond)
{
    public static CpuMachine Measure()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        Tensor source = rand(64 << 20), target = empty_like(source), square = rand(1024, 1024), small = rand(1 << 14);
        return new(
            2.0 * 4 * source.numel() / Best(() => target.copy_(source)),
            2.0 * 1024 * 1024 * 1024 / Best(() => square.mm(square).Dispose()),
            // in cache: libtorch's vectorised exponential, all cores
            64.0 * small.numel() / Best(() => { for (int i = 0; i < 64; i++) small.exp().Dispose(); }) * Environment.ProcessorCount);
    }

    static double Best(Action action)
    {
        action();
        double best = double.MaxValue;
        for (int i = 0; i < 7; i++)
        {
            long start = Stopwatch.GetTimestamp();
            action();
            best = Math.Min(best, Stopwatch.GetElapsedTime(start).TotalSeconds);
        }
        return best;
    }

    /// <summary>Gets the maximum of the three times, because they can overlap.</summary>
    public (double Ms, string Text) Limit(double bytes, double flops, double exponentials)
    {
        var (memory, arithmetic, special) = (1e3 * bytes / BytesPerSecond, 1e3 * flops / FlopsPerSecond, 1e3 * exponentials / ExponentialsPerSecond);
        double maxTime = Math.Max(memory, Math.Max(arithmetic, special));
        return (maxTime, maxTime == memory ? $"{bytes / 1e6:N0} MB" : maxTime == arithmetic ? $"{flops / 1e9:N2} GFLOP"
            : $"{exponentials / 1e6:N0} M exponentials");
    }
}
