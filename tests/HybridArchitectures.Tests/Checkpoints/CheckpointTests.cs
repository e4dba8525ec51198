using HybridArchitectures.Checkpoints;
using HybridArchitectures.Design;
using HybridArchitectures.Models;
using HybridArchitectures.Storage;
using HybridArchitectures.Tests.Design;
using HybridArchitectures.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Checkpoints;

public sealed class CheckpointTests : IDisposable
{
    readonly TemporaryFolder folder = new();
    readonly DisposeScope scope = NewDisposeScope();

    public void Dispose()
    {
        scope.Dispose();
        folder.Dispose();
    }

    // a design with an own mixer can be read where its spec is known by name
    static CheckpointTests() => MixerSpec.Register<ShiftSpec>("shift");

    static HybridDesign Small() => TinyDesigns.Get("experts");

    [Theory, MemberData(nameof(TinyDesigns.Names), MemberType = typeof(TinyDesigns))]
    public void A_saved_model_is_loaded_bit_for_bit(string name)
    {
        using var model = TinyDesigns.Model(name);
        Checkpoint.Save(model, folder["run"]);
        Assert.Equal(["design.json", "model.safetensors"], Directory.GetFiles(folder["run"]).Select(Path.GetFileName).Order());
        using var loaded = Checkpoint.Load(folder["run"]);
        Assert.Equal(model.Design, loaded.Design);
        Assert.Equal(model.State.Keys.Order(), loaded.State.Keys.Order());
        foreach (var (key, value) in model.State) Assert.True(loaded.State[key].equal(value).all().item<bool>(), key);
        var ids = randint(0, 37, [2, 9], int64);
        Assert.True(model.Forward(ids).equal(loaded.Forward(ids)).all().item<bool>());
    }

    [Fact]
    public void Saving_again_replaces_the_model_and_spares_other_files()
    {
        using var first = Small().CreateModel(seed: 1);
        using var second = Small().CreateModel(seed: 2);
        Checkpoint.Save(first, folder["run"]);
        Checkpoint.Save(second, folder["run"]);
        using (var loaded = Checkpoint.Load(folder["run"])) Assert.True(loaded.Embedding.equal(second.Embedding).all().item<bool>());
        File.WriteAllText(folder["run/notes.txt"], "mine");
        Assert.Contains("notes.txt", Assert.Throws<ArgumentException>(() => Checkpoint.Save(first, folder["run"])).Message);
        Assert.Equal("mine", File.ReadAllText(folder["run/notes.txt"]));
    }

    [Fact]
    public void Foreign_tensors_are_listed_by_name_and_change_nothing()
    {
        using var model = Small().CreateModel(seed: 1);
        Checkpoint.Save(model, folder["run"]);
        var state = model.State.ToDictionary(item => item.Key, item => item.Value);
        state.Remove("stack.norm.weight");
        state["extra"] = ones(2);
        state["embedding"] = ones(7, 24);
        SafetensorsFile.Write(folder["run/model.safetensors"], state);
        var before = model.Embedding.detach().clone();
        var message = Assert.Throws<InvalidDataException>(() => Checkpoint.LoadInto(model, folder["run"])).Message;
        Assert.Contains("1 tensor missing: stack.norm.weight", message);
        Assert.Contains("1 tensor unexpected: extra", message);
        Assert.Contains("embedding: Float32[7, 24] (expected Float32[37, 24])", message);
        Assert.True(model.Embedding.equal(before).all().item<bool>());
        Assert.Throws<InvalidDataException>(() => Checkpoint.Load(folder["run"]));
    }

    [Fact]
    public void Missing_empty_and_truncated_files_are_refused_by_name()
    {
        Assert.Contains("absent", Assert.Throws<DirectoryNotFoundException>(() => Checkpoint.Load(folder["absent"])).Message);
        Directory.CreateDirectory(folder["empty"]);
        Assert.Contains("design.json", Assert.Throws<FileNotFoundException>(() => Checkpoint.Load(folder["empty"])).Message);
        using var model = Small().CreateModel(seed: 1);
        Checkpoint.Save(model, folder["run"]);
        var bytes = File.ReadAllBytes(folder["run/model.safetensors"]);
        File.WriteAllBytes(folder["run/model.safetensors"], bytes[..^1]);
        Assert.Contains("model.safetensors", Assert.Throws<InvalidDataException>(() => Checkpoint.Load(folder["run"])).Message);
        File.Delete(folder["run/model.safetensors"]);
        Assert.Contains("model.safetensors", Assert.Throws<FileNotFoundException>(() => Checkpoint.Load(folder["run"])).Message);
        foreach (var text in new[] { "", "{", "{}", "[]", """{"vocabularySize": -1}""" })
        {
            File.WriteAllText(folder["run/design.json"], text);
            Assert.Contains("design.json", Assert.Throws<InvalidDataException>(() => Checkpoint.Load(folder["run"])).Message);
        }
    }

    [Fact]
    public void A_save_that_died_between_its_moves_is_completed_by_loading()
    {
        using var model = Small().CreateModel(seed: 1);
        Checkpoint.Save(model, folder["run"]);
        Directory.Move(folder["run"], folder[$".run.{new string('e', 32)}.old"]);
        using var loaded = Checkpoint.Load(folder["run"]);
        Assert.Equal(model.Design, loaded.Design);
    }
}
