using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Running;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Tests.Running;

public sealed class AsynchronousCheckpointTests : IDisposable
{
    readonly TokenDataset data = Small.Data();
    readonly TemporaryFolder folder = new();

    public void Dispose()
    {
        data.Dispose();
        folder.Dispose();
    }

    TrainingOptions Options(string name, bool asynchronous) => Small.Options with
    {
        CheckpointEvery = 2, KeepLast = 10, Folder = folder[name], AsynchronousCheckpoints = asynchronous,
    };

    [Fact]
    public void A_checkpoint_is_that_of_its_step_although_the_run_continues()
    {
        using var scope = NewDisposeScope();
        foreach (bool asynchronous in (bool[])[false, true])
        {
            using var model = Small.Model();
            using var trainer = new Trainer(model, data, Options($"{asynchronous}", asynchronous));
            Assert.True(trainer.Run().Completed);
        }
        string[] names = [.. Directory.GetDirectories(folder["False"]).Select(path => Path.GetFileName(path)!).Order()];
        Assert.Equal(6, names.Length);
        Assert.Equal(names, Directory.GetDirectories(folder["True"]).Select(path => Path.GetFileName(path)!).Order());
        foreach (string name in names)
            foreach (string file in (string[])["design.json", "model.safetensors", "optimizer.safetensors"])
                Assert.Equal(Bytes("False", name, file), Bytes("True", name, file));
    }

    byte[] Bytes(string run, string name, string file) => File.ReadAllBytes(Path.Combine(folder[run], name, file));

    [Fact]
    public void A_checkpoint_of_the_middle_can_be_resumed()
    {
        using var scope = NewDisposeScope();
        using var whole = Small.Model();
        using (var trainer = new Trainer(whole, data, Options("whole", true))) trainer.Run();
        using var resumed = Trainer.Resume(Path.Combine(folder["whole"], "step-00000004"), data);
        using var model = resumed.Model;
        Assert.Equal(4, resumed.Step);
        Assert.True(resumed.Options.AsynchronousCheckpoints);
    }

    [Fact]
    public void Callbacks_hear_of_every_checkpoint_once_and_when_it_is_there()
    {
        using var scope = NewDisposeScope();
        using var model = Small.Model();
        var heard = new Heard();
        using var trainer = new Trainer(model, data, Options("run", true), callbacks: [heard]);
        trainer.Run();
        Assert.Equal([2, 4, 6, 8, 10, 12], heard.Steps);
        Assert.Equal(trainer.Step, heard.Steps[^1]);
    }

    [Fact]
    public void A_write_that_fails_ends_the_run()
    {
        using var scope = NewDisposeScope();
        using var model = Small.Model();
        using var trainer = new Trainer(model, data, Options("run", true), callbacks: [new Obstacle(folder["run"])]);
        Assert.ThrowsAny<Exception>(() => trainer.Run());
        Assert.InRange(trainer.Step, 4, 12);
    }

    sealed class Heard : TrainingCallback
    {
        public List<long> Steps { get; } = [];

        public override void OnCheckpoint(Trainer trainer, string folder)
        {
            Assert.True(File.Exists(Path.Combine(folder, "training.json")));
            long step = long.Parse(Path.GetFileName(folder)["step-".Length..]);
            Assert.True(step <= trainer.Step);
            Steps.Add(step);
        }
    }

    // a file where the checkpoint of step 4 belongs
    sealed class Obstacle(string folder) : TrainingCallback
    {
        public override void OnStep(TrainingStep step)
        {
            if (step.Step == 4) File.WriteAllText(Path.Combine(folder, "step-00000004"), "");
        }
    }
}
