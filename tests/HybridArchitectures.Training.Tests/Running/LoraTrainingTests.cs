using HybridArchitectures.Adapters;
using HybridArchitectures.Models;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Running;
using TorchSharp;
using static TorchSharp.torch;

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
    public void A_trainer_changes_adapters_alone_and_continues_with_them_bit_for_bit(bool experts) => Train(experts, CPU);

    [Fact]
    [Trait("device", "cuda")]
    public void Adapters_with_dropout_train_on_a_GPU_bit_for_bit_again()
    {
        Assert.SkipUnless(cuda.is_available(), "no CUDA device: adapters were not trained on a GPU");
        Train(experts: false, CUDA);
    }

    void Train(bool experts, Device device)
    {
        var options = Small.Options with { Duration = Duration.Steps(20), CheckpointEvery = 5, KeepLast = 9 };
        using var model = Small.Model(experts: experts, device: device);
        using var adapters = LoraAdapters.Attach(model, new() { Rank = 4, Alpha = 8, Dropout = 0.1 });
        var before = Small.Bytes(model);
        TrainingResult result;
        using (var trainer = new Trainer(model, data, options with { Folder = folder["run"] })) result = trainer.Run();
        var after = Small.Bytes(model);
        foreach (var (name, bytes) in before)
            Assert.True(bytes.AsSpan().SequenceEqual(after[name]) == !name.Contains(".lora_"),
                $"'{name}' {(name.Contains(".lora_") ? "stayed" : "changed")}");
        Assert.True(result.History[^1].Loss < result.History[0].Loss);

        using var second = Small.Model(experts: experts, device: device);
        using var secondAdapters = LoraAdapters.Attach(second, adapters.Options);
        using (var trainer = new Trainer(second, data, options with { CheckpointEvery = 0 })) trainer.Run();
        Small.AssertBitEqual(model, second);

        using var resumed = Trainer.Resume(folder["run/step-00000010"], data, device: device);
        using var again = resumed.Model;
        Assert.Equal(adapters.Weights, again.Adapters()!.Weights);
        resumed.Run();
        Small.AssertBitEqual(model, again);
    }
}
