using System.Globalization;
using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Models;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Running;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Benchmarks.Gpu;

/// <summary>
/// Measures training steps by <see cref="Trainer"/> on random tokens: forward, backward, clipping and AdamW, with bfloat16 activations and float32
/// parameters. It prints tokens per second, model FLOP utilisation, memory, and the time of each group of kernels next to PyTorch.
/// </summary>
/// <param name="Filter">A part of the names of the cases. Null means all.</param>
/// <param name="Tiny">Whether small models are measured, to see that everything runs.</param>
/// <param name="Anchors">Whether PyTorch is measured too.</param>
/// <param name="Folder">The folder for the kernels of a step of each case. Null means none.</param>
/// <param name="Device">The device.</param>
/// <param name="Figures">Where the figures are added.</param>
sealed record GpuTrain(string? Filter, bool Tiny, bool Anchors, string? Folder, Device Device, FigureFile Figures)
{
    // dense bfloat16 products of the data sheet of the H100 and H200
    const double PeakFlops = 989.4e12;
    const int TopKernels = 25;

    sealed record Result(TrainingStepCase Case, TrainingStepMeter Meter, double Bytes)
    {
        public double TokensPerSecond => 1e3 * Case.Rows * Case.Length / Meter.Milliseconds;

        public double Utilisation => TokensPerSecond * Case.Design.Cost(Case.Length).Flops(FlopAccounting.MatrixProducts).Training / PeakFlops;

        // time of kernels in a step in milliseconds, by group
        public Dictionary<string, double> Groups => (Meter.Kernels ?? []).GroupBy(kernel => KernelGroups.For(kernel.Name))
            .ToDictionary(group => group.Key, group => TrainingStepMeter.PerStep(group.Sum(Duration)));

        public static double Duration(KernelTrace.Entry kernel) => (kernel.End - kernel.Start) / 1e6;
    }

    /// <summary>Measures and prints; 0.</summary>
    public int Run()
    {
        CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
        var cases = TrainingStepCase.All(Tiny).Where(one => Filter is null || Filter.Split(';').Any(part =>
            one.Name.Contains(part, StringComparison.OrdinalIgnoreCase))).ToArray();
        if (cases.Length == 0)
            throw new ArgumentException(
                $"no case contains '{Filter}'; cases are {string.Join("; ", TrainingStepCase.All(true).Select(one => one.Name))}");
        using var rivals = Anchors ? TrainingRivals.Start(cases, Console.Error.WriteLine) : null;
        if (rivals is not null) Measure(TrainingStepCase.All(true).First());        // compiles kernels while Python compiles its own
        var rates = rivals?.Measure() ?? new Dictionary<string, string>();
        var results = new List<Result>();
        Console.WriteLine("| design | rows x tokens | tokens/s | MFU | peak GiB | ms per step | kernels ms | launches | host ms | PyTorch |");
        Console.WriteLine("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |");
        foreach (var one in cases)
        {
            var result = Measure(one);
            results.Add(result);
            string rival = rates.GetValueOrDefault(one.Name, "-");
            Console.WriteLine(Line(result, rival));
            Figures.Add("training", new
            {
                design = one.Name, rows = one.Rows, length = one.Length, tokens_per_second = result.TokensPerSecond, mfu = result.Utilisation,
                peak_bytes = result.Bytes, step_ms = result.Meter.Milliseconds, host_ms = result.Meter.HostMilliseconds, kernels_ms = result.Groups,
                pytorch = rival,
            });
            Save(result);
        }
        PrintGroups(results);
        return 0;
    }

    static string Line(Result result, string rival)
    {
        var (one, meter) = (result.Case, result.Meter);
        double busy = result.Groups.Values.Sum(), launches = TrainingStepMeter.PerStep(meter.Kernels?.Count ?? 0);
        return $"| {one.Name} | {one.Rows} x {one.Length} | {result.TokensPerSecond:N0} | {result.Utilisation:P1} | {result.Bytes / (1L << 30):N1} | "
            + $"{meter.Milliseconds:N1} | {busy:N1} | {launches:N0} | {meter.HostMilliseconds:N1} | {rival} |";
    }

    static void PrintGroups(IReadOnlyList<Result> results)
    {
        Console.WriteLine($"\nms per step by group\n| group | {string.Join(" | ", results.Select(result => result.Case.Name))} |");
        Console.WriteLine($"| --- |{string.Concat(Enumerable.Repeat(" ---: |", results.Count))}");
        var groups = results.Select(result => result.Groups).ToArray();
        foreach (string group in KernelGroups.All)
            if (groups.Any(one => one.ContainsKey(group)))
                Console.WriteLine($"| {group} | {string.Join(" | ", groups.Select(one => one.GetValueOrDefault(group).ToString("N2")))} |");
        foreach (var result in results)
        {
            if (result.Meter.Kernels is not { } kernels) continue;
            Console.WriteLine($"\n{result.Case.Name}: kernels with the most time per step");
            foreach (var same in kernels.GroupBy(kernel => KernelGroups.Short(kernel.Name)).OrderByDescending(same => same.Sum(Result.Duration))
                .Take(TopKernels))
            {
                double time = TrainingStepMeter.PerStep(same.Sum(Result.Duration)), count = TrainingStepMeter.PerStep(same.Count());
                Console.WriteLine($"  {time,8:N3} ms in {count,6:N1} x {same.Key}");
            }
        }
    }

    Result Measure(TrainingStepCase one)
    {
        bool isCuda = Device.type == DeviceType.CUDA;
        var clock = isCuda ? new CudaClock() : null;
        if (isCuda) CudaClock.ReleaseFreeBlocks();
        long free = clock?.FreeBytes ?? 0;
        var meter = new TrainingStepMeter(Tiny ? 2 : one.TimedSteps, isCuda);
        using var scope = NewDisposeScope();
        using var model = one.Design.CreateModel(ScalarType.BFloat16, Device, seed: 1);
        using var data = Data(one);
        var options = new TrainingOptions
        {
            LearningRate = 1e-4, ContextLength = one.Length, BatchSize = one.Rows, Duration = Duration.Steps(meter.Steps), ReportEvery = 1000,
            SeparateDocuments = one.SeparateDocuments, ActivationCheckpointing = one.Checkpointing, SavedBlocks = one.SavedBlocks,
        };
        using var trainer = new Trainer(model, data, options, callbacks: [meter]);
        trainer.Run();
        // the allocator of libtorch keeps what it has once used
        return new Result(one, meter, free - (clock?.FreeBytes ?? 0));
    }

    static TokenDataset Data(TrainingStepCase one)
    {
        var random = new Random(1);
        var tokens = new int[one.Rows * one.Length * 4];
        for (int i = 0; i < tokens.Length; i++) tokens[i] = random.Next(one.Design.VocabularySize);
        var starts = new List<long>();
        for (long start = 0; start < tokens.Length - 1; start += random.Next(500, 1500)) starts.Add(start);
        return TokenDataset.FromTokens(tokens, one.Design.VocabularySize, one.SeparateDocuments ? starts : null);
    }

    void Save(Result result)
    {
        if (Folder is null || result.Meter.Kernels is not { } kernels) return;
        Directory.CreateDirectory(Folder);
        string name = string.Concat(result.Case.Name.Select(letter => char.IsLetterOrDigit(letter) ? letter : '-'));
        using var file = new StreamWriter(Path.Combine(Folder, name + ".tsv"));
        ulong begin = kernels[0].Start;
        foreach (var kernel in kernels) file.WriteLine($"{kernel.Start - begin}\t{kernel.End - kernel.Start}\t{KernelGroups.Short(kernel.Name)}");
    }
}
