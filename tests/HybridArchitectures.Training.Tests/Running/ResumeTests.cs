using System.Text.Json.Nodes;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Models;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Optimization;
using HybridArchitectures.Training.Running;

namespace HybridArchitectures.Training.Tests.Running;

public sealed class ResumeTests : IDisposable
{
    readonly TemporaryFolder folder = new();
    readonly TokenDataset data = Small.Data();
    readonly TokenDataset heldOut = Small.Data(300, seed: 2);

    public void Dispose()
    {
        data.Dispose();
        heldOut.Dispose();
        folder.Dispose();
    }

    sealed class CancelAt(long step, CancellationTokenSource source) : TrainingCallback
    {
        public override void OnStep(TrainingStep done)
        {
            if (done.Step == step) source.Cancel();
        }
    }

    string[] Saved(string run) => [.. Directory.GetFileSystemEntries(folder[run]).Select(Path.GetFileName).Order()!];

    TrainingResult RunUntil(string run, long step, HybridLanguageModel model, TrainingOptions options)
    {
        using var source = new CancellationTokenSource();
        using var trainer = new Trainer(model, data, options with { Folder = folder[run] }, heldOut, [new CancelAt(step, source)]);
        return trainer.Run(cancellation: source.Token);
    }

    static object[] Losses(TrainingResult result) =>
        [.. result.History.Select(item => (item.Step, item.Loss, item.LearningRate, item.GradientNorm)),
            .. result.Evaluations.Select(item => (item.Step, item.Result))];

    [Theory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    public void A_run_cancelled_at_any_step_continues_bit_equal(bool experts, bool muon)
    {
        var options = Small.Options with
        {
            Duration = Duration.Steps(7), MicroBatchSize = 3, EvaluateEvery = 4, ReportEvery = 4,
            Optimizer = muon ? new MuonOptions { PerHead = true, Momentum = 0.9 } : new AdamWOptions(),
        };
        using var straight = Small.Model(experts: experts);
        TrainingResult expected;
        using (var trainer = new Trainer(straight, data, options, heldOut)) expected = trainer.Run();
        foreach (int step in new[] { 1, 4, 6 })
        {
            using var begun = Small.Model(experts: experts);
            var cancelled = RunUntil($"run{step}", step, begun, options);
            Assert.True(cancelled is { Completed: false } && cancelled.Steps == step);
            Assert.Equal(folder[$"run{step}/step-{step:d8}"], cancelled.Checkpoint);
            Assert.Contains($"Resume(\"{folder[$"run{step}"]}\"", cancelled.HowToGoOn);
            using var resumed = Trainer.Resume(folder[$"run{step}"], data, heldOut);
            using var model = resumed.Model;
            var result = resumed.Run();
            Assert.True(result is { Completed: true, Steps: 7 });
            Assert.Equal(Losses(expected), Losses(result));
            Small.AssertBitEqual(straight, model);
        }
    }

    [Fact]
    public void A_run_of_Muon_from_before_equal_norms_continues_without_them()
    {
        var options = Small.Options with { Optimizer = new MuonOptions { EqualNorms = false, PerHead = false } };
        using var straight = Small.Model(); using var begun = Small.Model();
        using (var trainer = new Trainer(straight, data, options, heldOut)) trainer.Run();
        string checkpoint = RunUntil("run", 5, begun, options).Checkpoint!;
        string file = Path.Combine(checkpoint, "training.json");
        var json = JsonNode.Parse(File.ReadAllText(file))!.AsObject();
        Assert.True(json.Remove("checksum") && json["options"]!["optimizer"]!.AsObject().Remove("equalNorms"));
        File.WriteAllText(file, json.ToJsonString());
        using var resumed = Trainer.Resume(folder["run"], data, heldOut);
        using var model = resumed.Model;
        resumed.Run();
        Small.AssertBitEqual(straight, model);
    }

    [Fact]
    public void A_cancelled_trainer_may_continue_itself()
    {
        using var straight = Small.Model(); using var halted = Small.Model();
        using (var trainer = new Trainer(straight, data, Small.Options)) trainer.Run();
        using var source = new CancellationTokenSource();
        using var other = new Trainer(halted, data, Small.Options, callbacks: [new CancelAt(5, source)]);
        Assert.True(other.Run(cancellation: source.Token) is { Completed: false, Steps: 5, Checkpoint: null, HowToGoOn: null });
        Assert.True(other.Run().Completed);
        Small.AssertBitEqual(straight, halted);
    }

    [Fact]
    public void The_last_checkpoints_and_the_best_are_kept()
    {
        using var model = Small.Model();
        // what is held out follows another rule than the training text: the better that is learnt, the worse this is predicted
        using var other = TokenDataset.FromTokens([.. Enumerable.Range(0, 200).Select(i => i * 7 % Small.VocabularySize)], Small.VocabularySize);
        using var trainer = new Trainer(
            model, data, Small.Options with { Duration = Duration.Steps(10), CheckpointEvery = 2, Folder = folder["run"], LearningRate = 0.05,
                KeepLast = 2 }, other);
        var result = trainer.Run();
        long best = result.Evaluations.MinBy(item => item.Result.Loss)!.Step;
        var expected = new[] { best, 8, 10 }.Distinct().Select(step => $"step-{step:d8}").Order();
        Assert.True(best < 8, $"best at {best}");
        Assert.Equal(expected, Saved("run"));
        using var loaded = Checkpoint.Load(folder[$"run/step-{best:d8}"]);
        Assert.Equal(result.Evaluations.Min(item => item.Result.Loss), Evaluator.Evaluate(loaded, other, 12, 4).Loss, 1e-9);
    }

    [Fact]
    public void Every_nth_checkpoint_is_kept_and_the_best_one_on_request()
    {
        using var model = Small.Model();
        using var trainer = new Trainer(
            model, data, Small.Options with { Duration = Duration.Steps(11), CheckpointEvery = 1, Folder = folder["run"], KeepLast = 1, KeepEvery = 4,
                KeepBest = false }, heldOut);
        trainer.Run();
        Assert.Equal(["step-00000004", "step-00000008", "step-00000011"], Saved("run"));
    }

    [Fact]
    public void A_folder_serves_one_run_at_a_time()
    {
        using var model = Small.Model();
        using var second = Small.Model();
        var options = Small.Options with { Duration = Duration.Steps(3), Folder = folder["run"] };
        using var other = new Trainer(second, data, options);
        string? said = null;
        using var trainer = new Trainer(
            model, data, options, callbacks: [new At(2, () => said = Assert.Throws<IOException>(() => other.Run()).Message)]);
        trainer.Run();
        Assert.Contains("another run", said);
        Assert.Equal(0, other.Step);
    }

    sealed class At(long step, Action act) : TrainingCallback
    {
        public override void OnStep(TrainingStep done)
        {
            if (done.Step == step) act();
        }
    }

    [Fact]
    public void A_process_killed_while_saving_loses_nothing()
    {
        var options = Small.Options with { Duration = Duration.Steps(8), CheckpointEvery = 2 };
        using var straight = Small.Model();
        using (var trainer = new Trainer(straight, data, options with { Folder = folder["straight"] })) trainer.Run();
        using var begun = Small.Model();
        RunUntil("run", 4, begun, options);
        var mark = new string('a', 32);
        // half of the next checkpoint, under its temporary name
        Directory.CreateDirectory(folder[$"run/.step-00000006.{mark}.new"]);
        File.WriteAllBytes(folder[$"run/.step-00000006.{mark}.new/model.safetensors"], new byte[100]);
        // and the one before set aside for a rewrite that was complete
        Directory.Move(folder["run/step-00000004"], folder[$"run/.step-00000004.{mark}.old"]);
        using var resumed = Trainer.Resume(folder["run"], data);
        using var model = resumed.Model;
        Assert.Equal(4, resumed.Step);
        resumed.Run();
        Small.AssertBitEqual(straight, model);
        Assert.DoesNotContain(Saved("run"), name => name.StartsWith('.'));
    }

    [Fact]
    public void An_older_checkpoint_and_a_longer_run_can_be_requested()
    {
        using var model = Small.Model();
        using (var trainer = new Trainer(
            model, data, Small.Options with { Duration = Duration.Steps(6), CheckpointEvery = 2, Folder = folder["run"], KeepLast = 9,
                Schedule = new LinearSchedule() })) trainer.Run();
        using var resumed = Trainer.Resume(folder["run/step-00000002"], data, change: options => options with { Duration = Duration.Steps(12) });
        using var own = resumed.Model;
        Assert.Equal(2, resumed.Step);
        Assert.Equal(12, resumed.Run().Steps);
        Assert.Contains("step-00000012", Saved("run"));
        Assert.Contains("step-00000006", Saved("run"));
        Assert.Throws<ArgumentException>(() => Trainer.Resume(folder["run"], data, change: options => options with { BatchSize = 5 }));
    }

    [Fact]
    public void A_folder_with_a_run_is_not_used_for_a_new_run()
    {
        using var model = Small.Model();
        var options = Small.Options with { Duration = Duration.Steps(2), Folder = folder["run"] };
        using (var trainer = new Trainer(model, data, options)) trainer.Run();
        Assert.Contains("step-00000002", Assert.Throws<ArgumentException>(() => new Trainer(model, data, options)).Message);
    }

    [Fact]
    public void A_damaged_checkpoint_names_the_latest_sound_one_and_is_skipped_on_request()
    {
        var options = Small.Options with { Duration = Duration.Steps(6), CheckpointEvery = 2, KeepLast = 9 };
        using var straight = Small.Model();
        using (var trainer = new Trainer(straight, data, options with { Folder = folder["run"] })) trainer.Run();
        void Flip(string file)
        {
            var bytes = File.ReadAllBytes(folder[file]);
            bytes[^9] ^= 0x10;
            File.WriteAllBytes(folder[file], bytes);
        }
        Flip("run/step-00000006/model.safetensors");
        var error = Assert.Throws<InvalidDataException>(() => Trainer.Resume(folder["run"], data));
        Assert.Contains(folder["run/step-00000006/model.safetensors"], error.Message);
        Assert.Contains($"Resume(\"{folder["run/step-00000004"]}\"", error.Message);
        Assert.Contains("skipDamaged", error.Message);
        Flip("run/step-00000004/optimizer.safetensors");
        Assert.Contains(folder["run/step-00000002"], Assert.Throws<InvalidDataException>(() => Trainer.Resume(folder["run"], data)).Message);
        using (var resumed = Trainer.Resume(folder["run"], data, skipDamaged: true))
        {
            using var model = resumed.Model;
            Assert.Equal(2, resumed.Step);
            resumed.Run();
            Small.AssertBitEqual(straight, model);
        }
        // what was damaged has been written again
        using (var whole = Trainer.Resume(folder["run"], data)) whole.Model.Dispose();
        foreach (int step in new[] { 2, 4, 6 }) Flip($"run/step-{step:d8}/design.json");
        Assert.DoesNotContain("is sound", Assert.Throws<InvalidDataException>(() => Trainer.Resume(folder["run"], data, skipDamaged: true)).Message);
    }

    [Fact]
    public void A_checkpoint_whose_folder_was_renamed_is_refused_with_the_name_it_should_have()
    {
        using var model = Small.Model();
        RunUntil("run", 3, model, Small.Options);
        Directory.Move(folder["run/step-00000003"], folder["run/step-00000007"]);
        var error = Assert.Throws<InvalidDataException>(() => Trainer.Resume(folder["run"], data));
        Assert.Contains("step-00000007", error.Message);
        Assert.Contains("step-00000003", error.Message);
        Directory.Move(folder["run/step-00000007"], folder["run/best"]);
        Assert.Contains("step-00000003", Assert.Throws<InvalidDataException>(() => Trainer.Resume(folder["run/best"], data)).Message);
        Assert.Contains("best", Assert.Throws<FileNotFoundException>(() => Trainer.Resume(folder["run"], data)).Message);
    }

    [Fact]
    public void A_checkpoint_of_a_version_without_checksums_is_resumed()
    {
        using var model = Small.Model();
        RunUntil("run", 3, model, Small.Options);
        var path = folder["run/step-00000003/training.json"];
        var json = JsonNode.Parse(File.ReadAllText(path))!.AsObject();
        Assert.True(json.Remove("files") && json.Remove("checksum"));
        File.WriteAllText(path, json.ToJsonString());
        using var resumed = Trainer.Resume(folder["run"], data);
        resumed.Model.Dispose();
        Assert.Equal(3, resumed.Step);
    }

    [Fact]
    public void One_flipped_bit_of_the_training_state_is_noticed()
    {
        using var model = Small.Model();
        RunUntil("run", 3, model, Small.Options);
        var checkpoint = folder["run/step-00000003"];
        var path = Path.Combine(checkpoint, "training.json");
        byte[] bytes = File.ReadAllBytes(path);
        for (int i = 0; i < bytes.Length; i += 7)
        {
            byte[] damaged = [.. bytes];
            damaged[i] ^= (byte)(1 << i % 8);
            File.WriteAllBytes(path, damaged);
            Assert.Contains("training.json", Assert.Throws<InvalidDataException>(() => Trainer.Resume(checkpoint, data)).Message);
        }
        File.WriteAllBytes(path, [.. "\n"u8, .. bytes]);
        Assert.Contains("CRC-32C", Assert.Throws<InvalidDataException>(() => Trainer.Resume(checkpoint, data)).Message);
    }

    [Fact]
    public void Files_of_hundreds_of_megabytes_are_refused_before_they_are_read()
    {
        using var model = Small.Model();
        RunUntil("run", 3, model, Small.Options);
        var checkpoint = folder["run/step-00000003"];
        void Refused(string file, Action read)
        {
            var path = Path.Combine(checkpoint, file);
            var bytes = File.ReadAllBytes(path);
            using (var large = File.OpenWrite(path)) large.SetLength(300 << 20);
            Assert.Matches($"{file}: the file has .* bytes; expected at most", Assert.Throws<InvalidDataException>(read).Message);
            File.WriteAllBytes(path, bytes);
        }
        Refused("training.json", () => Trainer.Resume(checkpoint, data));
        Refused("design.json", () => Checkpoint.LoadDesign(checkpoint));
    }

    [Fact]
    public void Damaged_checkpoints_and_other_data_are_refused_by_name()
    {
        using var model = Small.Model();
        RunUntil("run", 3, model, Small.Options);
        var checkpoint = folder["run/step-00000003"];
        Assert.Contains("absent", Assert.Throws<DirectoryNotFoundException>(() => Trainer.Resume(folder["absent"], data)).Message);
        Assert.Contains("training.json", Assert.Throws<FileNotFoundException>(() => Trainer.Resume(folder.Path, data)).Message);
        Assert.Contains("fingerprint", Assert.Throws<InvalidDataException>(() => Trainer.Resume(checkpoint, heldOut)).Message);

        void Refused(string file, Func<byte[], byte[]> damage)
        {
            var path = Path.Combine(checkpoint, file);
            var bytes = File.ReadAllBytes(path);
            File.WriteAllBytes(path, damage(bytes));
            Assert.Contains(file, Assert.Throws<InvalidDataException>(() => Trainer.Resume(checkpoint, data)).Message);
            File.WriteAllBytes(path, bytes);
        }
        foreach (var file in new[] { "training.json", "design.json", "model.safetensors", "optimizer.safetensors" })
        {
            Refused(file, bytes => bytes[..^10]);
            Refused(file, _ => []);
        }
        byte[] Changed(byte[] bytes, Action<JsonNode> change)
        {
            var json = JsonNode.Parse(bytes)!;
            change(json);
            return System.Text.Encoding.UTF8.GetBytes(json.ToJsonString());
        }
        Refused("training.json", bytes => Changed(bytes, json => json["version"] = 99));
        Refused("training.json", bytes => Changed(bytes, json => json["unknown"] = 1));
        Refused("training.json", bytes => Changed(bytes, json => json["position"]!["index"] = 1_000_000));
        Refused("training.json", bytes => Changed(bytes, json => json["options"]!["learningRate"] = -1));
        using var resumed = Trainer.Resume(checkpoint, data);
        resumed.Model.Dispose();
    }
}
