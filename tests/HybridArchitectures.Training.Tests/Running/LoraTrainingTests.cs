using HybridArchitectures.Adapters;
using HybridArchitectures.Models;

namespace HybridArchitectures.Training.Tests.Running;

public sealed class LoraTrainingTests : IDisposable
{
    readonly TokenDataset data = Small.Data();
    readonly TemporaryFolder folder = new();

    public void Dispose()
    {
        data.Dispose();
        folder.Dispose();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_trainer_changes_adapters_alone_and_goes_on_with_them_bit_for_bit(bool experts)
    {
        var options = Small.Options with { Duration = Duration.Steps(20), CheckpointEvery = 5, KeepLast = 9 };
        using var model = Small.Model(experts: experts);
        using var adapters = LoraAdapters.Attach(model, new() { Rank = 4, Alpha = 8, Dropout = 0.1 });
        var before = Small.Bytes(model);
        TrainingResult result;
        using (var trainer = new Trainer(model, data, options with { Folder = folder["run"] })) result = trainer.Run();
        var after = Small.Bytes(model);
        foreach (var (name, bytes) in before)
            Assert.True(bytes.AsSpan().SequenceEqual(after[name]) == !name.Contains(".lora_"), $"'{name}' {(name.Contains(".lora_") ? "stayed" : "changed")}");
        Assert.True(result.History[^1].Loss < result.History[0].Loss);

        using var resumed = Trainer.Resume(folder["run/step-00000010"], data);
        using var again = resumed.Model;
        Assert.Equal(adapters.Weights, again.Adapters!.Weights);
        resumed.Run();
        Small.AssertBitEqual(model, again);
    }
}
