using System.Diagnostics;
using HybridArchitectures.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Benchmarks.Gpu;

/// <summary>
/// Measures cases on one device. Runs are put into the stream behind copies that keep the GPU busy until the host has issued them all, each run
/// between two events, so that the time of the GPU counts and not that of the host; the median is taken. Successive runs take other inputs wherever
/// one set would fit into the GPU's cache.
/// </summary>
sealed class GpuMeter(Device device, double seconds) : IDisposable
{
    // more than the second-level cache of any GPU holds
    const long CacheBytes = 400 << 20;
    const int MinRuns = 7, MaxRuns = 60, WarmUp = 3;

    // the stream takes about a thousand launches before the host has to wait
    const int RunsAtOnce = 20;

    // as many as the rivals in Python
    const int CallsOfGraph = 20, TriesOfGraph = 5;

    readonly CudaClock? clock = device.type == DeviceType.CUDA ? new() : null;
    readonly Tensor busy = empty([device.type == DeviceType.CUDA ? 512L << 20 : 0], ScalarType.Byte, device),
        work = empty([device.type == DeviceType.CUDA ? 512L << 20 : 0], ScalarType.Byte, device);

    /// <summary>Gets the name of the GPU, or cpu.</summary>
    public string DeviceName => clock?.DeviceName ?? "cpu";

    /// <summary>Returns the bytes per second, read and written, of a copy of a gigabyte on the GPU, or null in main memory.</summary>
    public double? CopyRate()
    {
        if (clock is null) return null;
        using var scope = NewDisposeScope();
        Tensor from = empty([1L << 30], ScalarType.Byte, device), to = empty_like(from);
        double time = Median(_ => to.copy_(from));
        return 2e3 * (1L << 30) / time;
    }

    public GpuRecord Measure(GpuCase one)
    {
        manual_seed(0);
        var sets = new List<GpuInputs>();
        try
        {
            var calls = new List<Func<Tensor>>();
            do
            {
                sets.Add(new(device, one.Type));
                calls.Add(one.Prepare(sets[^1]));
            }
            while (clock is not null && sets.Sum(set => set.Bytes) < CacheBytes);
            double forward = Median(i => Forward(calls[i % calls.Count]));
            double? total = null;
            Tensor? direction = null;
            if (one.Differentiates)
            {
                using var scope = NewDisposeScope();
                using var noGrad = no_grad();
                direction = randn_like(calls[0]()).DetachFromDisposeScope();
            }
            using (direction)
            {
                if (one.Differentiates) total = Median(i => Both(calls[i % calls.Count], sets[i % calls.Count], direction!));
                var record = Record(one, forward, total);
                return one.InGraph && clock is not null
                    ? record with { GraphMs = InGraph(calls, overlap: false), OverlappingGraphMs = InGraph(calls, overlap: true) } : record;
            }
        }
        finally
        {
            sets.ForEach(set => set.Dispose());
            if (clock is not null) CudaClock.ReleaseFreeBlocks();
        }
    }

    GpuRecord Record(GpuCase one, double forward, double? total) => new()
    {
        Op = one.Op, Shape = one.Shape, Type = one.TypeName, ForwardMs = forward, TotalMs = total, LimitMs = one.Limits.ForwardMs,
        LimitTotalMs = one.Limits.TotalMs, Device = device.type == DeviceType.CUDA ? "cuda" : "cpu", DeviceName = DeviceName,
        BytesPerSecond = clock is null ? null : MinGpuTime.BytesPerSecond,
    };

    // a call of a graph of several
    double InGraph(List<Func<Tensor>> calls, bool overlap)
    {
        void Body()
        {
            CudaDevice.Overlaps = overlap;
            for (int i = 0; i < CallsOfGraph; i++) Forward(calls[i % calls.Count]);
        }
        var pool = CudaGraphPool.For(Math.Max(0, device.index));
        for (int tries = 0; tries < TriesOfGraph && !pool.Run(Body); tries++) { }
        using var graph = pool.Capture(Body);
        return Median(_ => graph.Launch()) / CallsOfGraph;
    }

    static void Forward(Func<Tensor> call)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        call();
    }

    static void Both(Func<Tensor> call, GpuInputs inputs, Tensor direction)
    {
        using var scope = NewDisposeScope();
        Autograd.Backward(call(), direction);
        inputs.ForgetGradients();
    }

    double Median(Action<int> run)
    {
        for (int i = 0; i < WarmUp; i++) run(i);
        double once = Once(run);
        int runs = (int)Math.Clamp(1e3 * seconds / Math.Max(once, 1e-3), MinRuns, MaxRuns);
        var times = clock is null ? Enumerable.Range(0, runs).Select(i => Timed(() => run(i))).ToArray()
            : Enumerable.Range(0, runs).Chunk(RunsAtOnce).SelectMany(some => Events(run, some)).ToArray();
        Array.Sort(times);
        return times.Length % 2 == 1 ? times[times.Length / 2] : (times[times.Length / 2 - 1] + times[times.Length / 2]) / 2;
    }

    double[] Events(Action<int> run, int[] numbers)
    {
        cuda.synchronize();
        double issue = Timed(() => run(numbers[0])) * numbers.Length, copy = Once(_ => busy.copy_(work));
        for (double time = 0; time < 1.5 * issue; time += copy) busy.copy_(work);
        var marks = new (nint Before, nint After)[numbers.Length];
        for (int i = 0; i < numbers.Length; i++)
        {
            nint before = clock!.Record();
            run(numbers[i]);
            marks[i] = (before, clock.Record());
        }
        cuda.synchronize();
        return [.. marks.Select(mark => clock!.Between(mark.Before, mark.After))];
    }

    double Once(Action<int> run)
    {
        if (clock is not null) cuda.synchronize();
        return Timed(() =>
        {
            run(0);
            if (clock is not null) cuda.synchronize();
        });
    }

    public void Dispose()
    {
        busy.Dispose();
        work.Dispose();
    }

    static double Timed(Action action)
    {
        var watch = Stopwatch.StartNew();
        action();
        return watch.Elapsed.TotalMilliseconds;
    }
}
