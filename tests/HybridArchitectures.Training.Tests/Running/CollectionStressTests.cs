using System.Globalization;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Running;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Tests.Running;

/// <summary>
/// Tests training with activation checkpointing next to threads that collect garbage and create strings. The process survives, and the numbers are
/// the same.
/// </summary>
public sealed class CollectionStressTests : IDisposable
{
    readonly TokenDataset data = Small.Data();

    public void Dispose() => data.Dispose();

    [Fact]
    public void Training_survives_garbage_collection_bit_for_bit() => Train(CPU, Effort.Choose(everyday: 6, full: 600));

    [Fact]
    [Trait("device", "cuda")]
    public void Training_on_a_GPU_survives_garbage_collection_bit_for_bit()
    {
        Assert.SkipUnless(cuda.is_available(), "no CUDA device: training next to garbage collection was not run on a GPU");
        Train(CUDA, Effort.Choose(everyday: 20, full: 60));
    }

    void Train(Device device, int seconds)
    {
        var options = Small.Options with { Duration = Duration.Steps(10), ActivationCheckpointing = true, SeparateDocuments = true,
            MicroBatchSize = 2 };
        using var expected = Small.Model(experts: true, device: device);
        using (var trainer = new Trainer(expected, data, options)) trainer.Run();
        using var stop = new CancellationTokenSource(TimeSpan.FromSeconds(seconds));
        var threads = new[]
        {
            new Thread(() =>
            {
                while (!stop.IsCancellationRequested)
                {
                    GC.Collect();
                    GC.WaitForPendingFinalizers();
                }
            }),
            new Thread(() =>
            {
                for (long i = 0; !stop.IsCancellationRequested; i++) _ = string.Create(CultureInfo.InvariantCulture, $"step {i}");
            }),
        };
        foreach (var thread in threads) thread.Start();
        int runs = 0;
        do
        {
            using var model = Small.Model(experts: true, device: device);
            using (var trainer = new Trainer(model, data, options)) trainer.Run();
            Small.AssertBitEqual(expected, model);
            runs++;
        }
        while (!stop.IsCancellationRequested);
        foreach (var thread in threads) thread.Join();
        TestContext.Current.TestOutputHelper?.WriteLine($"{runs} runs of {options.Duration}");
    }
}
