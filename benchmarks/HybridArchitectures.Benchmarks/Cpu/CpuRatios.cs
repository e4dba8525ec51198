using System.Diagnostics;
using System.Text.Json;
using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using HybridArchitectures.Training.Optimization;
using HybridArchitectures.Training.Running;
using Spectre.Console;
using static TorchSharp.torch;

namespace HybridArchitectures.Benchmarks.Cpu;

/// <summary>
/// Measures the speed of operators in main memory as ratios to the code that a user would write instead, next to the limit of the machine.
/// </summary>
static class CpuRatios
{
    const int DecodeTokens = 32;

    static readonly JsonSerializerOptions indented = new() { WriteIndented = true, PropertyNamingPolicy = JsonNamingPolicy.CamelCase };

    public static int Run(string? json, string? filter, int rounds)
    {
        manual_seed(0);
        var machine = CpuMachine.Measure();
        AnsiConsole.WriteLine(
            $"{Environment.ProcessorCount} cores: copies {machine.BytesPerSecond / 1e9:f1} GB/s, products {machine.FlopsPerSecond / 1e9:f0} GFLOP/s, "
            + $"{machine.ExponentialsPerSecond / 1e9:f1} G exponentials/s; medians of {rounds} rounds, both ways in turn");
        var records = new List<CpuRatioRecord>();
        var table = new Table().Border(TableBorder.Rounded).AddColumns("operation", "sizes", "ms", "limit", "against", "ms", "ratio");
        AnsiConsole.Live(table).Start(live =>
        {
            foreach (var make in Cases(machine))
            {
                using var scope = NewDisposeScope();
                var one = make();
                if (filter is not null && !$"{one.Name}, {one.Sizes}".Contains(filter, StringComparison.OrdinalIgnoreCase)) continue;
                var record = Measure(one, rounds);
                records.Add(record);
                table.AddRow(record.Name, record.Sizes, $"{record.Ms:f2}", $"{record.LimitMs:f2} ({record.Limit})", record.Against,
                    $"{record.AgainstMs:f2}", $"{record.Ratio:f1}x");
                live.Refresh();
            }
        });
        if (json is not null) File.WriteAllText(json, JsonSerializer.Serialize(records, indented));
        return records.Count > 0 ? 0 : 1;
    }

    static CpuRatioRecord Measure(CpuRatio one, int rounds)
    {
        static double Time(Action action)
        {
            long start = Stopwatch.GetTimestamp();
            using (NewDisposeScope()) action();
            return Stopwatch.GetElapsedTime(start).TotalMilliseconds;
        }
        // until the runtime has compiled the loops fully, which it does in the background in two steps
        for (int pass = 0; pass < 2; pass++)
        {
            foreach (var action in new[] { one.Ours, one.Theirs })
                for (double spent = 0, count = 0; count < 2 || spent < 750; count++) spent += Time(action);
            Thread.Sleep(300);
        }
        var (ours, theirs) = (new double[rounds], new double[rounds]);
        for (int i = 0; i < rounds; i++)
        {
            // the fast one several times, for as long as a fair share of the slow one
            theirs[i] = Time(one.Theirs);
            int repeats = Math.Clamp((int)(theirs[i] / 4 / Math.Max(Time(one.Ours), 1e-3)), 1, 50);
            ours[i] = Median([.. Enumerable.Range(0, repeats).Select(_ => Time(one.Ours))]);
        }
        return new(one.Name, one.Sizes, one.Against, Median(ours), Median(theirs), Median([.. ours.Zip(theirs, (own, other) => other / own)]),
            one.LimitMs, one.Limit);
    }

    static double Median(double[] values)
    {
        var sorted = values.Order().ToArray();
        return (sorted[sorted.Length / 2] + sorted[(sorted.Length - 1) / 2]) / 2;
    }

    static IEnumerable<Func<CpuRatio>> Cases(CpuMachine machine)
    {
        foreach (bool backward in new[] { false, true })
        {
            yield return () => Scan(machine, backward);
            yield return () => Convolution(machine, backward);
            yield return () => Dual(machine, backward);
            foreach (var one in CpuOperators.Cases(machine, backward)) yield return one;
        }
        foreach (var type in new[] { ScalarType.Float32, ScalarType.BFloat16 }) yield return () => CpuOperators.AttentionStep(machine, type);
        yield return () => TrainingStep(machine, KernelBackend.LibTorch);
        yield return () => TrainingStep(machine, KernelBackend.Reference);
        yield return () => Decoding(machine, ScalarType.Float32);
        yield return () => Decoding(machine, ScalarType.BFloat16);
        yield return () => HeldWeights(machine);
    }

    internal static Tensor Leaf(params long[] sizes) => randn(sizes).mul_(Scalars.From(0.5)).requires_grad_();

    internal static void Run(Func<Tensor> forward, bool backward)
    {
        using var noGrad = backward ? null : no_grad();
        var output = forward();
        if (!backward) return;
        Autograd.Backward(output, ones_like(output));
    }

    static Action With(Func<IDisposable> plain, Action action) => () =>
    {
        using (plain()) action();
    };

    static IDisposable Sequential() => PlainOperators.Use(KernelBackend.Reference);

    static CpuRatio Operator(string name, string sizes, string against, Func<Tensor> forward, bool backward, (double Ms, string Text) limit) =>
        new($"{name}, {(backward ? "forward + backward" : "forward")}", sizes, against, () => Run(forward, backward),
            With(Sequential, () => Run(forward, backward)), limit.Ms, limit.Text);

    static CpuRatio Scan(CpuMachine machine, bool backward)
    {
        const long Channels = 1024, Length = 2048, States = 16;
        Tensor x = Leaf(1, Length, Channels), step = Leaf(1, Length, Channels), b = Leaf(1, Length, States), c = Leaf(1, Length, States),
            skip = Leaf(Channels);
        var a = randn(Channels, States).abs_().neg_().requires_grad_();
        double cells = Length * Channels, work = cells * States;
        // forward: two inputs, one output, an exponential and three multiply-adds per state; backward about three times that, its exponentials once
        // more
        return Operator("selective scan", $"B1 D{Channels} L{Length} N{States}", "loop over tokens",
            () => SelectiveScan.Forward(x, step, a, b, c, skip, softplus: true).Output, backward,
            machine.Limit(4 * cells * (backward ? 3 + 5 : 3), work * (backward ? 6 + 14 : 6), (work + 2 * cells) * (backward ? 2 : 1)));
    }

    static CpuRatio Convolution(CpuMachine machine, bool backward)
    {
        const long Channels = 1024, Length = 2048;
        Tensor x = Leaf(1, Length, Channels), weight = Leaf(Channels, 4), bias = Leaf(Channels);
        double cells = Length * Channels;
        return Operator("convolution + SiLU", $"B1 D{Channels} L{Length} W4", "shifted sums",
            () => CausalConvolution.Forward(x, weight, bias, silu: true).Output, backward,
            machine.Limit(4 * cells * (backward ? 2 + 3 : 2), cells * 8 * (backward ? 4 : 1), cells * (backward ? 2 : 1)));
    }

    static CpuRatio Dual(CpuMachine machine, bool backward)
    {
        const long Length = 2048, Heads = 16, Size = 64, States = 128, Chunk = 64;
        Tensor x = Leaf(1, Length, Heads, Size), step = Leaf(1, Length, Heads), b = Leaf(1, Length, 1, States), c = Leaf(1, Length, 1, States);
        var a = randn(Heads).abs_().neg_().requires_grad_();
        double inner = Length * Heads * Size, flops = 2.0 * Length * States * Chunk + inner * (2 * Chunk + 4 * States);
        return Operator("state-space dual", $"B1 L{Length} H{Heads} P{Size} N{States}", "loop over tokens",
            () => StateSpaceDual.Forward(x, step, a, b, c, softplus: true).Output, backward,
            machine.Limit(4 * inner * (backward ? 5 : 2), flops * (backward ? 3.5 : 1), Length * Heads * Chunk / 2.0 * (backward ? 2 : 1)));
    }

    // Quickstart's hybrid
    static CpuRatio TrainingStep(CpuMachine machine, KernelBackend dual)
    {
        const int ContextLength = 256, Rows = 4;
        var design = HybridDesign.Create(128, 256).WithAttention(heads: 4, keyValueHeads: 2).WithMamba2(stateSize: 32, headSize: 64)
            .WithFeedForward(FeedForwardSpec.SwiGlu(256))
            .Depth(6).Ratio(attention: 1, ssm: 5).Place(Placement.Middle).Build();
        var model = design.CreateModel(seed: 1);
        var optimizer = new AdamW([.. model.Parameters.Select(parameter => (parameter.Name, parameter.Value, parameter.Decays))]);
        var ids = randint(0, 256, [Rows, ContextLength + 1], ScalarType.Int64);
        void Step()
        {
            Autograd.Backward(model.Loss(ids.narrow(1, 0, ContextLength), ids.narrow(1, 1, ContextLength)).Total);
            optimizer.Step(1e-3, 1);
            foreach (var parameter in model.Parameters) parameter.Value.grad = null;
        }
        double flops = Rows * ContextLength * design.Cost(ContextLength).Flops(FlopAccounting.MatrixProducts).Training,
            bytes = 8.0 * 4 * design.CountParameters().Total;
        var limit = machine.Limit(bytes, flops, 0);
        return new("training step", $"Quickstart's hybrid, {Rows} x {ContextLength}",
            dual == KernelBackend.LibTorch ? "composed operators, chunked" : "composed operators, loop over tokens",
            Step, With(() => PlainOperators.Use(dual), Step), limit.Ms, limit.Text);
    }

    static HybridDesign DecodedDesign =>
        HybridDesign.Create(384, 4096).WithAttention(heads: 6, keyValueHeads: 2).WithMamba2(stateSize: 64, headSize: 64)
        .WithFeedForward(FeedForwardSpec.SwiGlu(1024)).Depth(9).Ratio(attention: 1, ssm: 5).Place(Placement.Middle).Build();

    // the same model twice: a step reads all weights once
    static CpuRatio HeldWeights(CpuMachine machine)
    {
        var design = DecodedDesign;
        long parameters = design.CountParameters().Total;
        Action Steps(ScalarType weightType)
        {
            var model = design.CreateModel(seed: 1, weightType: weightType);
            return DecodeSteps(model, Prefilled(model));
        }
        var limit = machine.Limit(DecodeTokens * 2.0 * parameters, DecodeTokens * 2.0 * parameters, 0);
        return new($"{DecodeTokens} decode steps, weights held in bfloat16", $"hybrid of {parameters / 1e6:f1}M, 1 row, Float32",
            "weights held in float32",
            Steps(ScalarType.BFloat16), Steps(ScalarType.Float32), limit.Ms, limit.Text);
    }

    static Tensor DecodePrompt => randint(0, 4096, [1, 256], ScalarType.Int64);

    // plain: new keys and values are copied to the cache, and libtorch's attention reads them
    static HybridCache Prefilled(HybridLanguageModel model, bool plain = false)
    {
        using var noGrad = no_grad();
        var cache = model.CreateCache(1);
        cache.StepsOnDevice = !plain;
        using var context = new SequenceContext(cache: cache);
        model.Forward(DecodePrompt, context);
        return cache;
    }

    static Action DecodeSteps(HybridLanguageModel model, HybridCache cache)
    {
        var token = DecodePrompt.narrow(1, 0, 1);
        return () =>
        {
            using var noGrad = no_grad();
            for (int i = 0; i < DecodeTokens; i++)
            {
                using var scope = NewDisposeScope();
                using var context = new SequenceContext(cache: cache);
                model.Forward(token, context);
            }
        };
    }

    // weights are float32 for either type of activations
    static CpuRatio Decoding(CpuMachine machine, ScalarType type)
    {
        var design = DecodedDesign;
        long parameters = design.CountParameters().Total;
        var model = design.CreateModel(type, CPU, seed: 1);
        var limit = machine.Limit(DecodeTokens * 4.0 * parameters, DecodeTokens * 2.0 * parameters, 0);
        return new($"{DecodeTokens} decode steps", $"hybrid of {parameters / 1e6:f1}M, 1 row, {type}", "composed operators",
            DecodeSteps(model, Prefilled(model)), With(Sequential, DecodeSteps(model, Prefilled(model, plain: true))), limit.Ms, limit.Text);
    }
}
