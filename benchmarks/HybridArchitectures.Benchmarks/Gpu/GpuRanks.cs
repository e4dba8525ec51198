using System.Diagnostics;
using System.Globalization;
using HybridArchitectures.Design;
using HybridArchitectures.Models;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Distributed;
using HybridArchitectures.Training.Running;
using RankedRun;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Benchmarks.Gpu;

/// <summary>
/// Measures training on several GPUs, one process each, that a launcher has started: checks and speed of the collectives, losses of a small model,
/// and tokens per second of a 1B recipe at a context of 8192.
/// </summary>
static class GpuRanks
{
    const int Context = 8192, Vocabulary = 512;

    /// <summary>Checks every operation of NCCL, and times an all-reduce of 1 GiB; 0.</summary>
    public static int Check()
    {
        CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
        using var ranks = Collectives.Connect(new() { Device = CUDA, Engine = CollectiveEngine.Nccl, Timeout = TimeSpan.FromSeconds(60) });
        CollectiveChecks.Run(ranks);
        using var scope = NewDisposeScope();
        var values = ones([1L << 28], ScalarType.Float32, ranks.Device);
        double best = double.PositiveInfinity;
        for (int i = 0; i < 8; i++)
        {
            ranks.Barrier();
            var watch = Stopwatch.StartNew();
            for (int j = 0; j < 4; j++) ranks.AllReduce(values);
            ranks.Barrier();
            best = Math.Min(best, watch.Elapsed.TotalSeconds / 4);
        }
        if (ranks.IsFirst)
            Console.WriteLine($"{ranks.Library}, {ranks.Size} ranks: all operations right; all-reduce of 1 GiB in {best * 1e3:0.000} ms, "
                + $"{values.NumberOfElements * 4 / best / 1e9:0} GB/s");
        return 0;
    }

    /// <summary>Trains, prints losses or the speed, and returns 0.</summary>
    public static int Train(string? recipe, int rows, int microRows, int steps, DataParallelStrategy strategy, Device device)
    {
        CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
        bool isOnGpu = device.type == DeviceType.CUDA;
        using var ranks = Collectives.Connect(new() { Device = isOnGpu ? CUDA : null, Timeout = TimeSpan.FromSeconds(90) });
        var design = recipe is null ? Small() : Recipes.Get(recipe).Design;
        using var model = design.CreateModel(isOnGpu ? ScalarType.BFloat16 : ScalarType.Float32, ranks.Device, seed: 1);
        using var data = TokenDataset.FromTokens(Tokens(Math.Min(design.VocabularySize, Vocabulary)), design.VocabularySize);
        var options = new TrainingOptions
        {
            LearningRate = 3e-4, ContextLength = recipe is null ? Vocabulary : Context, BatchSize = rows, MicroBatchSize = microRows,
            Duration = Duration.Steps(steps), ReportEvery = recipe is null ? 1 : 4, Seed = 3,
        };
        using var trainer = new Trainer(model, data, options, parallel: new DataParallel(ranks)
        {
            Strategy = strategy, GatherAfterRun = false,
        });
        var result = trainer.Run();
        if (!ranks.IsFirst) return 0;
        if (recipe is null)
            foreach (var report in result.History) Console.WriteLine($"loss {report.Step} {report.Loss:r} {report.GradientNorm:r}");
        var fast = result.History.Skip(2).Select(report => report.TokensPerSecond).ToArray();
        Console.WriteLine($"{recipe ?? "small"}, {ranks.Size} ranks {strategy}, {rows} x {options.ContextLength} tokens per step, "
            + $"{microRows} rows per pass: "
            + $"{string.Join(", ", fast.TakeLast(3).Select(value => value.ToString("N0", CultureInfo.InvariantCulture)))} tokens/s, "
            + $"loss {result.History[^1].Loss:0.0000}");
        return 0;
    }

    static HybridDesign Small() => HybridDesign.Create(512, Vocabulary).WithAttention(8, 4).WithMamba2(64, 64)
        .WithFeedForward(FeedForwardSpec.SwiGlu(1024)).Pattern("MTMM").Build();

    static int[] Tokens(int vocabulary)
    {
        var random = new Random(1);
        var tokens = new int[2_000_000];
        for (int i = 1; i < tokens.Length; i++) tokens[i] = random.Next(4) == 0 ? random.Next(vocabulary) : (tokens[i - 1] * 3 + 1) % vocabulary;
        return tokens;
    }
}
