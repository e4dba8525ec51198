using HybridArchitectures.Checkpoints;
using HybridArchitectures.Models;
using HybridArchitectures.Storage;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Running;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Tests.Running;

public sealed class SpikeGuardTests : IDisposable
{
    const int Window = 12, SpikeStep = 20;

    readonly TemporaryFolder folder = new();
    readonly TokenDataset data = Small.Data(5000);

    public void Dispose()
    {
        data.Dispose();
        folder.Dispose();
    }

    static TrainingOptions Options(SpikeAction action) => Small.Options with
    {
        Duration = Duration.Steps(26), LearningRate = 1e-3, MicroBatchSize = 2, SeparateDocuments = true,
        SpikeGuard = new SpikeGuard { Action = action, Window = Window, Deviations = 6, MaxConsecutiveSkips = 2 },
    };

    /// <summary>Makes the forward passes of chosen steps bad, and remembers what was found.</summary>
    sealed class Spoiler(HybridLanguageModel model, Func<long, bool> bad) : TrainingCallback
    {
        public List<TrainingSpike> Spikes { get; } = [];

        public override void OnStart(Trainer trainer) => model.Stack.Observer = (index, x) =>
        {
            using var noGrad = no_grad();
            using var scope = NewDisposeScope();
            if (index == model.Design.Depth && bad(trainer.Step + 1)) x.mul_(tensor(30f));
        };

        public override void OnSpike(Trainer trainer, TrainingSpike spike) => Spikes.Add(spike);
    }

    [Fact]
    public void A_loss_or_norm_is_held_against_the_sound_steps_before_it()
    {
        var guard = new SpikeGuard { Window = 4, Deviations = 3 };
        var watch = new SpikeWatch();
        Assert.Null(watch.Judge(guard, 100, 1));        // nothing to hold it against
        foreach (double loss in new[] { 2.0, 4, 2, 4 }) Assert.Null(watch.Judge(guard, loss, 1));
        // the window holds 2, 4, 2, 4: mean 3, deviation 1
        Assert.Equal("loss 6.01, after 4 steps of 3 with a standard deviation of 1", watch.Judge(guard, 6.01, 1));
        Assert.Equal("gradient norm 1.5, after 4 steps of 1 with a standard deviation of 0", watch.Judge(guard, 3, 1.5));
        Assert.Null(watch.Judge(guard, 5.99, 1));
        Assert.Null(watch.Judge(guard, double.NaN, 1));
        Assert.Equal([4, 2, 4, 5.99], watch.Losses);    // what is no number does not enter
    }

    [Fact]
    public void A_skipped_step_leaves_parameters_and_optimizer_alone_and_its_rows_in_a_file()
    {
        using var model = Small.Model(experts: true);
        var spoiler = new Spoiler(model, step => step == SpikeStep);
        Dictionary<string, byte[]>? before = null, after = null;
        var look = new At(step =>
        {
            if (step == SpikeStep - 1) before = Small.Bytes(model);
            if (step == SpikeStep) after = Small.Bytes(model);
        });
        using var trainer = new Trainer(model, data, Options(SpikeAction.Skip) with { Folder = folder["run"] }, callbacks: [spoiler, look]);
        var result = trainer.Run();
        Assert.True(result.Completed);
        var spike = Assert.Single(spoiler.Spikes);
        Assert.Equal((SpikeStep, 1L), (spike.Step, trainer.SkippedSteps));
        Assert.Matches("^gradient norm [0-9.]+, after 12 steps of ", spike.Reason);
        foreach (var (name, bytes) in before!)
            Assert.True(bytes.AsSpan().SequenceEqual(after![name]), $"'{name}' differs");
        Assert.All(result.History, report => Assert.InRange(report.Loss, 2.5, 3.5));       // the spike's loss is not among those reported
        // the file holds the rows of the step
        using var file = SafetensorsFile.Open(spike.File!);
        var sampler = new WindowSampler(data, 12, seed: 5, separateDocuments: true) { Position = spike.Batch };
        using var batch = sampler.Next(4);
        using var ids = file.Read("ids");
        using var targets = file.Read("targets");
        Assert.True(batch.Ids.equal(ids).all().item<bool>() && batch.Targets.equal(targets).all().item<bool>());
        Assert.True(file.Contains("documents"));
        Assert.Equal($"{SpikeStep}", file.Metadata["step"]);
    }

    [Fact]
    public void A_run_stopped_by_choice_keeps_the_parameters_before_the_step_and_names_the_rows()
    {
        using var model = Small.Model();
        Dictionary<string, byte[]>? before = null;
        var look = new At(step =>
        {
            if (step == SpikeStep - 1) before = Small.Bytes(model);
        });
        var spoiler = new Spoiler(model, step => step == SpikeStep);
        using var trainer = new Trainer(model, data, Options(SpikeAction.Stop) with { Folder = folder["run"] }, callbacks: [spoiler, look]);
        var error = Assert.Throws<TrainingDivergedException>(() => trainer.Run());
        Assert.Equal((SpikeStep, spoiler.Spikes[0].Batch), (error.Step, error.Batch));
        Assert.StartsWith("gradient norm", error.Location);
        Assert.Contains(spoiler.Spikes[0].File!, error.Message);
        Assert.Equal((SpikeStep - 1, error.Batch), (trainer.Step, trainer.Position));
        foreach (var (name, bytes) in Small.Bytes(model)) Assert.Equal(before![name], bytes);
        Assert.All(model.Parameters, parameter => Assert.Null(parameter.Value.grad));
    }

    [Fact]
    public void Spikes_without_end_stop_the_run()
    {
        using var model = Small.Model();
        using var trainer = new Trainer(model, data, Options(SpikeAction.Skip), callbacks: [new Spoiler(model, step => step >= SpikeStep)]);
        var error = Assert.Throws<TrainingDivergedException>(() => trainer.Run());
        Assert.Equal(SpikeStep + 2, error.Step);
        Assert.Contains("after 2 skipped steps in a row", error.Message);
    }

    [Fact]
    public void A_sound_run_is_not_touched_and_a_resumed_one_remembers_what_it_skipped()
    {
        var options = Options(SpikeAction.Skip);
        using var plain = Small.Model(); using var guarded = Small.Model();
        using (var trainer = new Trainer(plain, data, options with { SpikeGuard = null })) trainer.Run();
        using (var trainer = new Trainer(guarded, data, options)) trainer.Run();
        Small.AssertBitEqual(plain, guarded);

        using var straight = Small.Model();
        using (var trainer = new Trainer(straight, data, options, callbacks: [new Spoiler(straight, step => step is SpikeStep or SpikeStep + 3)]))
            trainer.Run();
        using var begun = Small.Model();
        using (var source = new CancellationTokenSource())
        using (var trainer = new Trainer(begun, data, options with { Folder = folder["run"] }, callbacks:
            [new Spoiler(begun, step => step == SpikeStep), new At(step => { if (step == SpikeStep + 1) source.Cancel(); })])) trainer.Run(
            cancellation: source.Token);
        TrainingCallback[] callbacks = [new Late(model => new Spoiler(model, step => step == SpikeStep + 3))];
        using var resumed = Trainer.Resume(folder["run"], data, callbacks: callbacks);
        using var own = resumed.Model;
        resumed.Run();
        Assert.Equal(2, resumed.SkippedSteps);
        Small.AssertBitEqual(straight, own);
    }

    sealed class At(Action<long> act) : TrainingCallback
    {
        public override void OnStep(TrainingStep step) => act(step.Step);
    }

    sealed class Late(Func<HybridLanguageModel, TrainingCallback> make) : TrainingCallback
    {
        public override void OnStart(Trainer trainer) => make(trainer.Model).OnStart(trainer);
    }
}
