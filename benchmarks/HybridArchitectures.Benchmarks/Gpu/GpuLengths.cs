using System.Diagnostics;
using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Benchmarks.Gpu;

/// <summary>
/// Times the first and the second call at lengths that the process has not seen, on the host, each until the device is idle. An operator whose
/// library prepares a plan for each length has a slow first call.
/// </summary>
/// <param name="device">The device.</param>
/// <param name="tiny">Whether few and short lengths are measured, to see that everything runs.</param>
/// <param name="figures">Where the figures are added.</param>
sealed class GpuLengths(Device device, bool tiny, FigureFile figures)
{
    const int Heads = 32, KeyHeads = 8, HeadSize = 64, WarmLength = 64;

    /// <summary>Measures attention of one query and of as many queries as keys.</summary>
    public void Operators()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        Tensor New(int tokens, int heads) => randn([1, tokens, heads, HeadSize], ScalarType.BFloat16, device);
        int room = tiny ? 128 : 8192;
        var (query, keys, values) = (New(1, Heads), New(room, KeyHeads), New(room, KeyHeads));
        using var workspace = new AttentionDecodeWorkspace(1, Heads, device);
        Measure("attention decode, 32:8 heads of 64", Lengths(80), length =>
        {
            var filled = full([1], length, ScalarType.Int32, device);
            return () => AttentionDecode.Forward(query, keys, values, filled, workspace: workspace);
        });
        var queries = New(room, Heads);
        Measure("attention, as many queries as keys", Lengths(40), length =>
        {
            var (q, k, v) = (queries.narrow(1, 0, length), keys.narrow(1, 0, length), values.narrow(1, 0, length));
            return () => FusedAttention.Forward(q, k, v);
        });
        Measure("attention of libtorch, one query", Lengths(8), length =>
        {
            var (k, v) = (keys.narrow(1, 0, length), values.narrow(1, 0, length));
            return () => FusedAttention.Forward(query, k, v);
        });
    }

    /// <summary>Measures the reading of a prompt up to the logits of its last token, with an empty cache.</summary>
    public void Prompts(string name, HybridLanguageModel model)
    {
        using var noGrad = no_grad();
        foreach (int length in tiny ? (int[])[10, 40] : [33, 130, 517, 1030, 2055, 4101, 8190])
        {
            using var scope = NewDisposeScope();
            var ids = zeros([1, length], ScalarType.Int64, device);
            void Read()
            {
                using var inner = NewDisposeScope();
                using var cache = model.CreateCache(1);
                using var context = new Sequence.SequenceContext(cache: cache);
                model.NextLogits(ids, context);
            }
            var (first, second) = (Milliseconds(Read), Milliseconds(Read));
            Console.WriteLine($"{name}, a prompt of {length} tokens: {first:f2} ms the first time, {second:f2} ms the second time");
            figures.Add("prompt_lengths", new { design = name, length, first_ms = first, second_ms = second });
        }
    }

    IEnumerable<int> Lengths(int count)
    {
        // odd steps, so that no length repeats one that a kernel was tuned for
        int step = tiny ? 2 : 97;
        return Enumerable.Range(0, tiny ? 3 : count).Select(i => WarmLength + 5 + i * step);
    }

    void Measure(string name, IEnumerable<int> lengths, Func<int, Func<Tensor>> prepare)
    {
        void Run(Func<Tensor> call) => call().Dispose();
        Run(prepare(WarmLength));
        Run(prepare(WarmLength));
        var (firsts, seconds) = (new List<double>(), new List<double>());
        foreach (int length in lengths)
        {
            var call = prepare(length);
            GC.Collect();
            firsts.Add(1e3 * Milliseconds(() => Run(call)));
            seconds.Add(1e3 * Milliseconds(() => Run(call)));
        }
        double difference = Median(firsts.Zip(seconds, (first, second) => first - second));
        Console.WriteLine($"{name}: {firsts.Count} lengths, first call {Median(firsts):f0} us, second {Median(seconds):f0} us, "
            + $"median difference {difference:f0} us");
        figures.Add("first_calls", new
        {
            call = name, lengths = firsts.Count, first_us = Median(firsts), second_us = Median(seconds), difference_us = difference,
            longest_first_us = firsts.Max(),
        });
    }

    double Milliseconds(Action work)
    {
        Synchronize();
        long start = Stopwatch.GetTimestamp();
        work();
        Synchronize();
        return Stopwatch.GetElapsedTime(start).TotalMilliseconds;
    }

    void Synchronize()
    {
        if (device.type == DeviceType.CUDA) cuda.synchronize();
    }

    static double Median(IEnumerable<double> values)
    {
        var sorted = values.Order().ToArray();
        return sorted[sorted.Length / 2];
    }
}
