using HybridArchitectures.Adapters;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Running;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Tests.Running;

/// <summary>Tests that all random numbers of a run come from its seed, whatever else the process has drawn.</summary>
public sealed class RunRandomTests : IDisposable
{
    readonly TokenDataset data = Small.Data();
    readonly TemporaryFolder folder = new();

    public void Dispose()
    {
        data.Dispose();
        folder.Dispose();
    }

    /// <summary>Moves the embedding by numbers of torch's default generator, as a module with dropout would.</summary>
    sealed class Noise : TrainingCallback
    {
        public override void OnStep(TrainingStep step)
        {
            using var scope = NewDisposeScope();
            using var noGrad = no_grad();
            step.Trainer.Model.Embedding.add_(randn_like(step.Trainer.Model.Embedding).mul(Scalars.From(1e-3)), Scalars.One);
        }
    }

    Dictionary<string, byte[]> Trained(int outside, TrainingOptions options, double dropout, params TrainingCallback[] callbacks)
    {
        manual_seed(outside);
        using var model = Small.Model();
        using var adapters = dropout > 0 ? LoraAdapters.Attach(model, new() { Rank = 4, Dropout = dropout }) : null;
        using (var trainer = new Trainer(model, data, options, callbacks: callbacks)) trainer.Run();
        return Small.Bytes(model);
    }

    static void Same(Dictionary<string, byte[]> a, Dictionary<string, byte[]> b)
    {
        foreach (var (name, bytes) in a) Assert.True(bytes.AsSpan().SequenceEqual(b[name]), $"'{name}' differs");
    }

    [Fact]
    public void Dropout_of_adapters_is_the_same_in_every_run_of_a_seed_with_and_without_checkpointing()
    {
        var first = Trained(1, Small.Options, 0.3);
        Same(first, Trained(2, Small.Options, 0.3));
        Same(first, Trained(3, Small.Options with { ActivationCheckpointing = true }, 0.3));
        var other = Trained(1, Small.Options with { Seed = 6 }, 0.3);
        Assert.Contains(first, item => item.Key.Contains(".lora_") && !item.Value.AsSpan().SequenceEqual(other[item.Key]));
        var none = Trained(1, Small.Options, 0);
        Assert.NotEqual(none.Count, first.Count);
    }

    [Fact]
    public void A_second_run_over_the_same_adapters_draws_what_the_first_drew()
    {
        using var model = Small.Model();
        using var adapters = LoraAdapters.Attach(model, new() { Rank = 4, Dropout = 0.3 });
        var begin = model.State.ToDictionary(item => item.Key, item => item.Value.clone());
        Dictionary<string, byte[]> Run()
        {
            using (no_grad()) foreach (var (name, value) in begin) model.State[name].copy_(value);
            using (var trainer = new Trainer(model, data, Small.Options)) trainer.Run();
            return Small.Bytes(model);
        }
        Same(Run(), Run());
        foreach (var value in begin.Values) value.Dispose();
    }

    [Fact]
    public void Modules_that_draw_from_torch_draw_what_the_seed_says_and_the_process_draws_on_as_before()
    {
        var first = Trained(1, Small.Options, 0, new Noise());
        Same(first, Trained(2, Small.Options, 0, new Noise()));
        var other = Trained(1, Small.Options with { Seed = 7 }, 0, new Noise());
        Assert.False(first["embedding"].AsSpan().SequenceEqual(other["embedding"]));
        using var scope = NewDisposeScope();
        manual_seed(11);
        var expected = randn(4).data<float>().ToArray();
        using var model = Small.Model();
        using var trainer = new Trainer(model, data, Small.Options with { Duration = Duration.Steps(2) }, callbacks: [new Noise()]);
        manual_seed(11);
        trainer.Run();
        Assert.Equal(expected, randn(4).data<float>().ToArray());
    }

    [Fact]
    public void Dropout_and_torchs_numbers_continue_after_a_stop()
    {
        var options = Small.Options with { Duration = Duration.Steps(8), CheckpointEvery = 3, KeepLast = 9, ActivationCheckpointing = true };
        manual_seed(1);
        using var straight = Small.Model();
        using var adapters = LoraAdapters.Attach(straight, new() { Rank = 4, Dropout = 0.3 });
        using (var trainer = new Trainer(straight, data, options with { Folder = folder["run"] }, callbacks: [new Noise()])) trainer.Run();
        manual_seed(2);
        using var resumed = Trainer.Resume(folder["run/step-00000003"], data, callbacks: [new Noise()]);
        using var model = resumed.Model;
        manual_seed(3);
        resumed.Run();
        Small.AssertBitEqual(straight, model);
    }
}
