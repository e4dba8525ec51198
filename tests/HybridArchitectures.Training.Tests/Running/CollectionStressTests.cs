using System.Globalization;

namespace HybridArchitectures.Training.Tests.Running;

/// <summary>
/// Training with activation checkpointing next to threads that collect garbage and make strings: the process lives and the numbers are the same.
/// </summary>
public sealed class CollectionStressTests : IDisposable
{
    readonly TokenDataset data = Small.Data();

    public void Dispose() => data.Dispose();

    [Fact]
    public void Training_survives_garbage_collection_bit_for_bit()
    {
        var options = Small.Options with { Duration = Duration.Steps(10), ActivationCheckpointing = true, SeparateDocuments = true, MicroBatchSize = 2 };
        using var expected = Small.Model(experts: true);
        using (var trainer = new Trainer(expected, data, options)) trainer.Run();
        using var stop = new CancellationTokenSource(TimeSpan.FromSeconds(Effort.Choose(everyday: 6, full: 600)));
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
            using var model = Small.Model(experts: true);
            using (var trainer = new Trainer(model, data, options)) trainer.Run();
            Small.AssertBitEqual(expected, model);
            runs++;
        }
        while (!stop.IsCancellationRequested);
        foreach (var thread in threads) thread.Join();
        TestContext.Current.TestOutputHelper?.WriteLine($"{runs} runs of {options.Duration}");
    }
}
