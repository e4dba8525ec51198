using System.Diagnostics;
using System.Globalization;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Design;
using HybridArchitectures.Evaluation.Inference;
using HybridArchitectures.Generation;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Benchmarks.Gpu;

/// <summary>
/// Measures decoding and prefill of the 1B recipes: tokens per second with graphs and without, the first and the second call at each length, prompts,
/// the time to the first token, and the loading time. Weights are random bfloat16.
/// </summary>
/// <param name="Filter">Part of a design's name; null for all.</param>
/// <param name="Parts">
/// What is measured: any of "kernels", "steps" (with the kernels of a step), "launches" (one by one), "decode", "long" (from 512 to 2,048 tokens),
/// "drafts" (passes that verify drafts), "eager", "prefill", "lengths" (first and second calls), "load".
/// </param>
/// <param name="Batches">The numbers of rows of "steps", "launches", "decode" and "drafts".</param>
/// <param name="Tiny">Whether small models are measured, to see that everything runs.</param>
/// <param name="Anchors">Whether transformers is measured too.</param>
/// <param name="Device">Where.</param>
/// <param name="States">The type in which recurrent states are stored between steps.</param>
/// <param name="Figures">Where the figures are added.</param>
sealed record GpuDecode(string? Filter, IReadOnlyList<string> Parts, IReadOnlyList<int> Batches, bool Tiny, bool Anchors, Device Device,
    ScalarType States, FigureFile Figures)
{
    const int PromptLength = 512, Short = 128, Long = 384;

    static readonly string[] Names =
        ["1B-llama", "1B-inter-1:5", "1B-mamba", "1B-intra-1:5", "1B-inter-1:5-moe", "1B-swa-1:5", TrainingStepCase.DeltaName];

    static readonly TimeSpan Patience = TimeSpan.FromMinutes(3);

    sealed record Rival(string design, int batch, double tokens_per_second, double step_ms, double first_ms);

    /// <summary>Measures and prints; 0.</summary>
    public int Run()
    {
        CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
        if (Parts.Contains("decode"))
            Console.WriteLine("| design | batch | tokens/s | ms a step | eager tokens/s | first token ms |");
        if (Parts.Contains("lengths")) new GpuLengths(Device, Tiny, Figures).Operators();
        if (Parts.Contains("kernels") && Device.type == DeviceType.CUDA) Products();
        foreach (string name in Names)
        {
            if (Filter is not null && !name.Contains(Filter, StringComparison.OrdinalIgnoreCase)) continue;
            using var model = Create(name);
            model.eval();
            if (Parts.Contains("load") && name == "1B-llama") Load(model);
            foreach (int batch in Batches)
            {
                if (Parts.Contains("steps") || Parts.Contains("launches"))
                    new GpuSteps(name, model, batch, PromptLength, States).Print(Parts.Contains("launches"));
            }
            if (Parts.Contains("decode"))
                foreach (int batch in Batches) Decode(name, model, batch);
            if (Parts.Contains("drafts")) Drafts(name, model);
            if (Parts.Contains("lengths")) new GpuLengths(Device, Tiny, Figures).Prompts(name, model);
            if (Parts.Contains("long")) Continue(name, model, 4, Tiny ? 64 : 2048);
            if (Parts.Contains("eager")) Eager(name, model);
            if (Parts.Contains("prefill"))
                foreach (int length in Tiny ? (int[])[512] : [8192, 32_768]) Prefill(name, model, length);
        }
        if (Anchors) PrintRivals();
        return 0;
    }

    void PrintRivals()
    {
        foreach (var rival in ReadRivals())
        {
            Print($"transformers, {rival.design}, batch {rival.batch}: {rival.tokens_per_second:f0} tokens/s, {rival.step_ms:f3} ms a step, first "
                + $"token {rival.first_ms:f1} ms");
            Figures.Add("transformers", rival);
        }
    }

    static IReadOnlyList<Rival> ReadRivals()
    {
        var start = new ProcessStartInfo("python3");
        start.ArgumentList.Add(Path.Combine(AppContext.BaseDirectory, "anchors", "gpu_decode.py"));
        return JsonLines.FromProcess<Rival>(start, "anchors", Patience, Console.Error.WriteLine);
    }

    HybridDesign Design(string name) => TrainingStepCase.All(Tiny).First(one => one.Name == name).Design;

    // numbers of the size that training begins with, made where the model lives
    HybridLanguageModel Create(string name)
    {
        var model = Design(name).CreateBlankModel(ScalarType.BFloat16, Device, ScalarType.BFloat16);
        using var noGrad = no_grad();
        manual_seed(0);
        foreach (var (key, value, _) in model.AllParameters())
        {
            if (key.EndsWith("A_log", StringComparison.Ordinal) || key.EndsWith(".D", StringComparison.Ordinal) || key.Contains("norm",
                StringComparison.Ordinal)) nn.init.constant_(value, 1);
            else if (key.EndsWith("dt_bias", StringComparison.Ordinal)) nn.init.constant_(value, -3);
            else nn.init.normal_(value, 0, 0.02);
        }
        return model;
    }

    // figures with bfloat16 states are kept next to those with float32 states
    string Kind(string kind) => States == ScalarType.BFloat16 ? $"{kind}_bfloat16_states" : kind;

    int[][] Prompts(HybridLanguageModel model, int batch, int length)
    {
        var random = new Random(7);
        return [.. Enumerable.Range(0, batch).Select(_ => Enumerable.Range(0, length).Select(_ => random.Next(Math.Min(1000,
            model.VocabularySize))).ToArray())];
    }

    double Seconds(Action work)
    {
        Synchronize();
        var watch = Stopwatch.StartNew();
        work();
        Synchronize();
        return watch.Elapsed.TotalSeconds;
    }

    void Synchronize()
    {
        if (Device.type == DeviceType.CUDA) cuda.synchronize();
    }

    void Decode(string name, HybridLanguageModel model, int batch)
    {
        using var generator = new TextGenerator(model);
        var prompts = Prompts(model, batch, Tiny ? 16 : PromptLength);
        double Generate(int count, bool graphs = true) => Seconds(() => generator.Generate(prompts, new GenerationOptions { Temperature = 0,
            MaxNewTokens = count, CudaGraphs = graphs, StateType = States }));
        Generate(4);
        double first = Generate(1), few = Generate(Short), many = Generate(Long), step = (many - few) / (Long - Short);
        double eager = (Generate(40, graphs: false) - Generate(8, graphs: false)) / 32;
        double begin = batch * (Short - 1) / (few - first);
        Figures.Add(Kind("decode"), new
        {
            design = name, batch, tokens_per_second = batch / step, tokens_per_second_begin = begin, tokens_per_second_direct = batch / eager,
            first_token_ms = 1e3 * first,
        });
        Print($"| {name} | {batch} | {batch / step:f0} ({begin:f0} over the first {Short}) | {1e3 * step:f3} | "
            + $"{batch / eager:f0} | {1e3 * first:f1} |");
    }

    // passes over the last token and its drafts, whose last token is rejected or kept, and generations with drafts
    void Drafts(string name, HybridLanguageModel model)
    {
        foreach (int batch in Device.type == DeviceType.CUDA ? Batches : [])
            foreach (int width in (int[])[2, 4, 8])
            {
                var (direct, _, _) = PassTime(model, batch, width, width - 1, captures: false);
                var (graph, nodes, replays) = PassTime(model, batch, width, width - 1, captures: true);
                var (kept, _, _) = PassTime(model, batch, width, width, captures: true);
                Figures.Add(Kind("drafts"), new
                {
                    design = name, batch, tokens = width, direct_ms = 1e3 * direct, graph_ms = 1e3 * graph, kept_ms = 1e3 * kept, nodes, replays,
                });
                Print($"{name}, {batch} rows, pass over {width} tokens: {1e3 * direct:f3} ms directly, {1e3 * graph:f3} ms as a graph of {nodes} "
                    + $"nodes, and one of {replays} after the rejection; {1e3 * kept:f3} ms if all tokens are kept");
            }
        DraftRates(name, model, "a cycle of 16 tokens, continued by random weights", i => i % 16);
        RepeatFirstToken(model);
        DraftRates(name, model, "one token, which the model repeats", _ => 0);
    }

    // makes the first token follow itself: its embedding outweighs all that blocks add to it
    static void RepeatFirstToken(HybridLanguageModel model)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var embedding = model.Embedding.narrow(0, 0, 1);
        embedding.mul_(Scalars.From(1000));
        if (!model.Design.TiedHead) model.Head.narrow(0, 0, 1).copy_(embedding);
    }

    // tokens per second after the prompt, of the second of two equal generations, without drafts, with direct passes and with graphs
    void DraftRates(string name, HybridLanguageModel model, string text, Func<int, int> token)
    {
        using var generator = new TextGenerator(model);
        int[][] prompts = [[.. Enumerable.Range(0, Tiny ? 16 : PromptLength).Select(token)]];
        foreach (var (drafts, graphs) in new (int?, bool)[] { (null, true), (3, false), (3, true), (7, true) })
        {
            var options = new GenerationOptions
            {
                Temperature = 0, MaxNewTokens = Short, DraftTokens = drafts, CudaGraphs = graphs, StateType = States,
            };
            generator.Time(prompts, options, default);
            var times = generator.Time(prompts, options, default);
            double rate = (Short - 1) / (times[^1] - times[0]).TotalSeconds;
            int passes = times.Count - 1;
            Figures.Add(Kind("draft_rates"), new { design = name, text, drafts = drafts ?? 0, graphs, tokens_per_second = rate, passes });
            Print($"{name}, {text}, {drafts ?? 0} drafts, {(graphs ? "graphs" : "direct")}: {rate:f0} tokens/s in the second generation, "
                + $"{passes} passes for {Short - 1} tokens");
        }
    }

    // seconds of a pass whose first tokens are kept, and launches of its graphs
    (double Seconds, long Nodes, long Replays) PassTime(HybridLanguageModel model, int batch, int width, int keptTokens, bool captures)
    {
        const int Warm = 4, Timed = 16;
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var cache = model.CreateCache(batch, States);
        cache.CudaGraphs = false;
        int length = Tiny ? 16 : PromptLength;
        cache.Reserve(length + (Warm + Timed) * width);
        using (var context = new SequenceContext(cache: cache))
            model.NextLogits(zeros([batch, length], ScalarType.Int64, Device), context).Dispose();
        using var pass = new DraftPass(model, cache, width, scores => scores);
        long[] ids = [.. Enumerable.Range(0, batch * width).Select(at => (long)at)];
        int[] counts = [.. Enumerable.Repeat(keptTokens, batch)];
        void Passes(int count)
        {
            for (int i = 0; i < count; i++)
            {
                pass.Run(ids, captures);
                pass.Keep(counts);
            }
        }
        Passes(Warm);
        return (Seconds(() => Passes(Timed)) / Timed, pass.Nodes, pass.ReplayNodes);
    }

    // the whole call, with the prompt; the second call uses the captured step of the first
    void Continue(string name, HybridLanguageModel model, int batch, int length)
    {
        using var generator = new TextGenerator(model);
        var prompts = Prompts(model, batch, Tiny ? 16 : PromptLength);
        int count = length - prompts[0].Length;
        double Generate() => Seconds(() => generator.Generate(prompts, new GenerationOptions { Temperature = 0, MaxNewTokens = count }));
        double first = Generate(), second = Generate();
        Print($"{name}, {batch} rows from {prompts[0].Length} to {length} tokens: {batch * count / second:f0} tokens/s, {1e3 * second:f0} ms (the "
            + $"first call {1e3 * first:f0} ms)");
    }

    // the products of a step over weights that no cache holds, as a graph
    void Products()
    {
        Product("query, key, value", 2048, 1, false, 2048, 512, 512);
        Product("attention output", 2048, 1, false, 2048);
        Product("Mamba-2 input", 2048, 1, false, 8480);
        Product("gate and up", 2048, 1, true, 8192, 8192);
        Product("gate and up", 2048, 16, true, 8192, 8192);
        Product("down", 8192, 1, false, 2048);
        Product("down", 8192, 16, false, 2048);
        Product("head", 2048, 1, false, 128_256);
    }

    void Product(string name, int inputs, int rows, bool gated, params int[] outputs)
    {
        const long Memory = 1L << 30;
        const int Launches = 5;
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        long bytes = 2L * inputs * outputs.Sum();
        var x = randn([rows, inputs], ScalarType.BFloat16, Device);
        var copies = Enumerable.Range(0, (int)Math.Max(2, Memory / bytes))
            .Select(_ => outputs.Select(count => (ones([count, inputs], ScalarType.BFloat16, Device), (Tensor?)null)).ToArray()).ToArray();
        void Body()
        {
            using var inner = NewDisposeScope();
            foreach (var weights in copies)
            {
                if (gated) FewRowsLinear.ForwardGated(x, weights[0], weights[1]);
                else FewRowsLinear.ForwardMany(x, weights);
            }
        }
        var pool = CudaGraphPool.For(Math.Max(0, Device.index));
        for (int tries = 0; tries < 5 && !pool.Run(Body); tries++) { }
        using var graph = pool.Capture(Body);
        graph.Launch();
        double each = Seconds(() =>
        {
            for (int i = 0; i < Launches; i++) graph.Launch();
        }) / Launches / copies.Length;
        Print($"{name}, {rows} rows, {inputs} to {string.Join(" + ", outputs)}: {1e6 * each:f2} us, {bytes / each / 1e12:f2} TB/s");
    }

    // a loop over NextLogits, which waits for each step
    void Eager(string name, HybridLanguageModel model)
    {
        var times = new List<double>[] { [], [] };
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var ids = zeros([1, 1], ScalarType.Int64, Device);
        foreach (var times1 in times)
        {
            using var cache = model.CreateCache(1);
            using (var context = new SequenceContext(cache: cache)) model.NextLogits(zeros([1, 600], ScalarType.Int64, Device), context).Dispose();
            for (int step = 0; step < 64; step++)
            {
                times1.Add(Seconds(() =>
                {
                    using var context = new SequenceContext(cache: cache);
                    model.NextLogits(ids, context).Dispose();
                }));
            }
        }
        Figures.Add("next_logits", new
        {
            design = name, first_median_ms = 1e3 * Median(times[0].Skip(2)), first_longest_ms = 1e3 * times[0].Skip(2).Max(),
            second_median_ms = 1e3 * Median(times[1].Skip(2)), second_longest_ms = 1e3 * times[1].Skip(2).Max(),
        });
        Print($"{name}, eager steps one by one at lengths never seen before: median {1e3 * Median(times[0].Skip(2)):f2} ms, longest "
            + $"{1e3 * times[0].Skip(2).Max():f2}; "
            + $"the second time: median {1e3 * Median(times[1].Skip(2)):f2} ms, longest {1e3 * times[1].Skip(2).Max():f2}");
    }

    void Prefill(string name, HybridLanguageModel model, int length)
    {
        using var generator = new TextGenerator(model);
        var options = new GenerationOptions { Temperature = 0, MaxNewTokens = 1 };
        var prompts = Prompts(model, 1, length);
        double first = Seconds(() => generator.Generate(prompts, options)), second = Math.Min(Seconds(() => generator.Generate(prompts, options)),
            Seconds(() => generator.Generate(prompts, options)));
        var few = Prompts(model, 1, 32);
        Seconds(() => generator.Generate(few, options));
        double shortTime = Enumerable.Range(0, 5).Select(_ => Seconds(() => generator.Generate(few, options))).Min();
        Figures.Add("prompts", new
        {
            design = name, length, tokens_per_second = length / second, first_ms = 1e3 * first, second_ms = 1e3 * second,
            first_token_of_32_ms = 1e3 * shortTime,
        });
        Print($"{name}, a prompt of {length}: {length / second:f0} tokens/s ({1e3 * second:f1} ms; the first time {1e3 * first:f1} ms); first "
            + $"token after a prompt of 32: {1e3 * shortTime:f1} ms");
    }

    void Load(HybridLanguageModel model)
    {
        string folder = Path.Combine(Path.GetTempPath(), $"gpu-decode-{Environment.ProcessId}");
        try
        {
            Checkpoint.Save(model, folder, ScalarType.BFloat16);
            long bytes = model.State.Values.Sum(value => value.NumberOfElements * value.ElementSize);
            long maxTensor = model.State.Values.Max(value => value.NumberOfElements * value.ElementSize);
            if (Device.type == DeviceType.CUDA) CudaClock.ReleaseFreeBlocks();
            long before = Free();
            HybridLanguageModel? loaded = null;
            var host = PeakMemory.Start(CPU);
            double seconds = Seconds(() => loaded = Checkpoint.Load(folder, ScalarType.BFloat16, Device, ScalarType.BFloat16));
            // the allocator keeps what it has once used, so this is the peak
            long taken = before - Free();
            long? grown = host.Stop();
            loaded!.Dispose();
            Figures.Add("load", new { model_bytes = bytes, largest_tensor_bytes = maxTensor, device_bytes = taken, host_bytes = grown, seconds });
            Print($"loading {bytes / 1e9:f2} GB held in bfloat16, with tensors of at most {maxTensor / 1e9:f2} GB: {seconds:f2} s; peak of device "
                + $"memory {taken / 1e9:f2} GB, of main memory {grown / 1e9:f2} GB");
        }
        finally
        {
            if (Directory.Exists(folder)) Directory.Delete(folder, recursive: true);
        }
    }

    long Free() => Device.type == DeviceType.CUDA ? CudaGraphDriver.Memory(Math.Max(0, Device.index)).Free : 0;

    static double Median(IEnumerable<double> values)
    {
        var sorted = values.Order().ToArray();
        return sorted[sorted.Length / 2];
    }

    static void Print(string line)
    {
        Console.WriteLine(line);
        Console.Out.Flush();
    }
}
