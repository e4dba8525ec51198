using HybridArchitectures.Design;
using HybridArchitectures.Models;
using HybridArchitectures.Modules;
using HybridArchitectures.Sequence;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Optimization;
using HybridArchitectures.Training.Running;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Tests.Running;

/// <summary>Tests what a trainer refuses when it is created or started, before any work is lost.</summary>
public sealed class TrainerStartTests : IDisposable
{
    readonly TemporaryFolder folder = new();
    readonly TokenDataset data = Small.Data();

    public void Dispose()
    {
        data.Dispose();
        folder.Dispose();
    }

    /// <summary>Describes a mixer that is not registered.</summary>
    sealed record NamelessSpec : CustomMixerSpec
    {
        public override string Symbol => "X";

        public override long CountParameters(int width) => width;

        public override long CountCacheBytes(int width, long length, int elementSize) => 0;

        public override double CountMixingFlops(int width, FlopAccounting accounting, SeenTokens seen) => 0;

        public override double CountSavedActivations(int width, TrainingStepShape step) => 0;

        public override Mixer CreateMixer(ModuleFactory factory) => new NamelessMixer(factory);
    }

    sealed class NamelessMixer : Mixer
    {
        public NamelessMixer(ModuleFactory factory) : base(nameof(NamelessMixer)) =>
            AddParameter("weight", factory.Constant(1, factory.Width), decays: true);

        public override Tensor Forward(Tensor x, SequenceContext context, MixerState? state) => x.mul(Parameter("weight"));

        public override MixerState CreateState(int batch, ScalarType compute, Device device) => throw new NotSupportedException();
    }

    static HybridLanguageModel Nameless() =>
        new HybridDesign { Width = 8, VocabularySize = Small.VocabularySize, Blocks = [new BlockSpec { Mixer = new NamelessSpec() }] }.Resolve()
            .CreateModel(seed: 1);

    [Fact]
    public void A_mixer_that_is_not_registered_is_refused_at_once_where_checkpoints_are_wanted()
    {
        using var model = Nameless();
        var error = Assert.Throws<ArgumentException>(() => new Trainer(model, data, Small.Options with { Folder = folder["run"] }));
        Assert.Contains("NamelessSpec", error.Message);
        using var trainer = new Trainer(model, data, Small.Options with { Duration = Duration.Steps(2) });
        Assert.True(trainer.Run().Completed);
    }

    sealed record OwnSchedule : LearningRateSchedule
    {
        protected override double Shape(double progress) => 1;
    }

    [Fact]
    public void A_schedule_that_a_checkpoint_cannot_hold_is_refused_at_once()
    {
        using var model = Small.Model();
        var options = Small.Options with { Duration = Duration.Steps(2), Schedule = new OwnSchedule() };
        var error = Assert.Throws<ArgumentException>(() => new Trainer(model, data, options with { Folder = folder["run"] }));
        Assert.Contains("OwnSchedule", error.Message);
        using var trainer = new Trainer(model, data, options);
        Assert.True(trainer.Run().Completed);
    }

    [Fact]
    public void A_folder_that_cannot_be_written_is_refused_at_once_with_its_true_cause()
    {
        using var model = Small.Model();
        File.WriteAllText(folder["file"], "");
        var error = Assert.ThrowsAny<IOException>(() => new Trainer(model, data, Small.Options with { Folder = folder["file/run"] }));
        Assert.DoesNotContain("in use", error.Message);
        Assert.Contains("is not writable", error.Message);
        Assert.SkipUnless(OperatingSystem.IsLinux(), "/proc is Linux's");
        var refused = Record.Exception(() => new Trainer(model, data, Small.Options with { Folder = "/proc/sys/run" }));
        Assert.True(refused is IOException or UnauthorizedAccessException, $"{refused}");
        Assert.DoesNotContain("in use", refused!.Message);
    }

    [Fact]
    public void Held_out_text_without_a_target_is_refused_at_once()
    {
        using var model = Small.Model();
        using var single = TokenDataset.FromTokens(
            [.. Enumerable.Range(0, 20)], Small.VocabularySize, [.. Enumerable.Range(0, 20).Select(i => (long)i)]);
        var options = Small.Options with { SeparateDocuments = true };
        Assert.Contains("target", Assert.Throws<ArgumentException>("heldOut", () => new Trainer(model, data, options, single)).Message);
        using var trainer = new Trainer(model, data, Small.Options, single);
    }

    [Fact]
    public void A_disposed_trainer_or_model_trains_and_saves_nothing()
    {
        using var model = Small.Model();
        var trainer = new Trainer(model, data, Small.Options with { Folder = folder["run"] });
        trainer.Dispose();
        Assert.Throws<ObjectDisposedException>(() => trainer.Run());

        var gone = Small.Model();
        var options = Small.Options with { Folder = folder["other"] };
        using var cancelled = new CancellationTokenSource();
        using var second = new Trainer(gone, data, options);
        cancelled.Cancel();
        second.Run(cancellation: cancelled.Token);
        var before = File.ReadAllBytes(folder["other/step-00000000/model.safetensors"]);
        gone.Dispose();
        Assert.Throws<ObjectDisposedException>(() => second.Run(cancellation: cancelled.Token));
        Assert.Equal(before, File.ReadAllBytes(folder["other/step-00000000/model.safetensors"]));
        Assert.Throws<ObjectDisposedException>(() => new Trainer(gone, data, Small.Options));
    }

    [Fact]
    public void An_optimizer_that_is_disposed_says_so()
    {
        using var model = Small.Model();
        var optimizer = new AdamW(model.Parameters.Select(item => (item.Name, item.Value, item.Decays)));
        optimizer.Dispose();
        foreach (Action call in new Action[] { () => optimizer.Step(1), () => optimizer.ReadFailed(), () => optimizer.ReadSteps(),
            () => optimizer.ForgetFailure(), () => optimizer.DropGradients(),
            () => optimizer.Load((_, _) => { }), () => _ = optimizer.State }) Assert.Throws<ObjectDisposedException>(call);
    }

    [Fact]
    public void Of_two_trainers_made_over_one_empty_folder_the_second_touches_nothing()
    {
        using var model = Small.Model(); using var other = Small.Model();
        var options = Small.Options with { Duration = Duration.Steps(4), CheckpointEvery = 2, Folder = folder["run"], KeepLast = 1 };
        using var first = new Trainer(model, data, options); using var second = new Trainer(other, data, options);
        first.Run();
        var before = Directory.GetFileSystemEntries(folder["run"]).Order().ToArray();
        var error = Assert.Throws<IOException>(() => second.Run());
        Assert.Contains("step-00000004", error.Message);
        Assert.Contains("another trainer", error.Message);
        Assert.Equal(before, Directory.GetFileSystemEntries(folder["run"]).Order());
        Assert.Equal(0, second.Step);
    }

    [Fact]
    public void A_run_that_continues_is_not_resumed_by_another()
    {
        using var model = Small.Model();
        var options = Small.Options with { Duration = Duration.Steps(6), CheckpointEvery = 1, KeepLast = 1, Folder = folder["run"] };
        using var trainer = new Trainer(model, data, options, callbacks: [new AtStep(4, () =>
            Assert.Contains("in use", Assert.Throws<IOException>(() => Trainer.Resume(folder["run"], data)).Message))]);
        trainer.Run();
        using var resumed = Trainer.Resume(folder["run"], data);
        resumed.Model.Dispose();
        Assert.Equal(6, resumed.Step);
    }

    sealed class AtStep(long step, Action act) : TrainingCallback
    {
        public override void OnStep(TrainingStep done)
        {
            if (done.Step == step) act();
        }
    }
}
