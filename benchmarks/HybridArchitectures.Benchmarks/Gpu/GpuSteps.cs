using System.Diagnostics;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Benchmarks.Gpu;

/// <summary>Measures decoding steps of a model with a graph: the time of a step, and that of each of its kernels.</summary>
/// <param name="Name">The design.</param>
/// <param name="Model">The model, on a GPU.</param>
/// <param name="Batch">The number of rows.</param>
/// <param name="Length">The tokens of each row before the steps.</param>
/// <param name="States">The type in which recurrent states are stored between steps.</param>
sealed record GpuSteps(string Name, HybridLanguageModel Model, int Batch, int Length, ScalarType States)
{
    const int Warm = 4, Timed = 64, Traced = 8;

    /// <summary>Returns the milliseconds of a step, and its launches in order if they are requested and CUPTI is there.</summary>
    public (double Milliseconds, IReadOnlyList<Launch>? Launches) Measure(bool traces)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var cache = Model.CreateCache(Batch, States);
        cache.CudaGraphs = false;
        cache.Reserve(Length + 256);
        using (var context = new SequenceContext(cache: cache))
            Model.NextLogits(zeros([Batch, Length], ScalarType.Int64, Model.Device), context).Dispose();
        var ids = ones([Batch, 1], ScalarType.Int64, Model.Device);
        var result = zeros([2, Batch], ScalarType.Int64, Model.Device);
        void Body()
        {
            using var inner = NewDisposeScope();
            using var noGrad = no_grad();
            using var context = new SequenceContext(cache: cache);
            GreedyTokens.Select(Model.NextLogitsDirectly(ids, context), ids, result);
        }
        using var graph = new StepGraph(cache, Body);
        void Steps(int count)
        {
            for (int i = 0; i < count; i++) graph.Step();
            cuda.synchronize();
        }
        Steps(Warm);
        double best = double.MaxValue;
        for (int round = 0; round < 3; round++)
        {
            var watch = Stopwatch.StartNew();
            Steps(Timed);
            best = Math.Min(best, watch.Elapsed.TotalMilliseconds / Timed);
        }
        if (!traces) return (best, null);
        var entries = KernelTrace.Record(() => Steps(Traced));
        return (best, entries is null ? null : Summarise(entries));
    }

    /// <summary>
    /// Describes a launch of a step: its time, and the time from the end of the latest one before it to its end, both in microseconds.
    /// </summary>
    internal readonly record struct Launch(string Name, double Microseconds, double Added);

    static IReadOnlyList<Launch>? Summarise(IReadOnlyList<KernelTrace.Entry> entries)
    {
        if (entries.Count % Traced != 0)
        {
            Console.WriteLine($"{entries.Count} launches in {Traced} steps");
            return null;
        }
        int each = entries.Count / Traced;
        var launches = new Launch[each];
        for (int at = 0; at < each; at++)
        {
            double time = 0, added = 0;
            for (int step = 1; step < Traced; step++)
            {
                int index = step * each + at;
                ulong before = 0;
                for (int i = Math.Max(0, index - 8); i < index; i++) before = Math.Max(before, entries[i].End);
                time += entries[index].End - entries[index].Start;
                added += entries[index].End > before ? entries[index].End - before : 0;
            }
            launches[at] = new(entries[each + at].Name, time / 1e3 / (Traced - 1), added / 1e3 / (Traced - 1));
        }
        return launches;
    }

    /// <summary>Measures and prints.</summary>
    public void Print(bool lists)
    {
        var (milliseconds, launches) = Measure(true);
        Console.WriteLine($"{Name}, {Batch} rows, {Length} tokens: {milliseconds:f3} ms per step, {1e3 * Batch / milliseconds:f0} tokens/s, "
            + $"{launches?.Count} launches");
        if (launches is null) return;
        foreach (var group in launches.GroupBy(launch => launch.Name).OrderByDescending(group => group.Sum(launch => launch.Added)))
            Console.WriteLine($"  {group.Sum(launch => launch.Added),8:f1} us added, {group.Sum(launch => launch.Microseconds),8:f1} us in "
                + $"{group.Count(),3} x {Short(group.Key)}");
        if (!lists) return;
        for (int i = 0; i < launches.Count; i++)
            if (i < 36 || i >= launches.Count - 10)
                Console.WriteLine($"  {i,4} {launches[i].Added,7:f2} {launches[i].Microseconds,7:f2} {Short(launches[i].Name)}");
    }

    static string Short(string name) => name.Length > 90 ? name[..90] : name;
}
