using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using TorchSharp;

namespace HybridArchitectures.Training.Running;

/// <summary>Measures how well a run uses its device, for reports.</summary>
/// <param name="model">The model.</param>
/// <param name="contextLength">The number of tokens of a row.</param>
/// <param name="ranks">The number of ranks, one device each, whose speed a report contains.</param>
sealed class RunMeter(HybridLanguageModel model, int contextLength, int ranks = 1)
{
    readonly Lazy<double> flopsPerToken =
        new(() => FlopCount.OfText(model.Design, contextLength, FlopAccounting.MatrixProducts).Training);

    readonly Lazy<double?> peakFlops = new(() => model.Device.type != DeviceType.CUDA || model.ComputeType != torch.ScalarType.BFloat16 ? null
        : Accelerator.Find(CudaGraphDriver.DeviceName(Index(model)))?.Flops);

    TimeSpan reading;

    static int Index(HybridLanguageModel model) => Math.Max(0, model.Device.index);

    /// <summary>Adds time in which rows were read.</summary>
    public void AddReading(TimeSpan time) => reading += time;

    /// <summary>Adds the measurements since the last report to a report, and starts the next ones.</summary>
    /// <param name="report">The report.</param>
    /// <param name="spent">The time of the steps since the last report.</param>
    public TrainingProgress Complete(TrainingProgress report, TimeSpan spent)
    {
        double flops = report.TokensPerSecond * flopsPerToken.Value;
        var complete = report with
        {
            ModelFlopsPerSecond = flops, ModelFlopUtilisation = Utilisation(flops, peakFlops.Value, ranks), MemoryBytes = MemoryBytes(),
            ReadingShare = spent > TimeSpan.Zero ? Math.Min(1, reading / spent) : 0,
        };
        reading = TimeSpan.Zero;
        return complete;
    }

    /// <summary>Returns the share of the throughput of all devices; null if that of one is unknown.</summary>
    public static double? Utilisation(double flops, double? peakFlops, int ranks) => flops / (ranks * peakFlops);

    // the allocator of libtorch keeps what it has once used, so the present value on a GPU is the maximum so far
    long MemoryBytes()
    {
        if (model.Device.type != DeviceType.CUDA) return Environment.WorkingSet;
        var (free, total) = CudaGraphDriver.Memory(Index(model));
        return total - free;
    }
}
