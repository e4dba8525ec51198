using System.Text.Json.Nodes;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Conformance;
using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Storage;
using HybridArchitectures.Tests.Models;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Checkpoints;

/// <summary>Provides copies of recorded checkpoints that a test can change.</summary>
public abstract class PretrainedFolderTests : IDisposable
{
    private protected readonly TemporaryFolder folders = new();
    private protected readonly TorchSharp.DisposeScope scope = NewDisposeScope();

    public void Dispose()
    {
        scope.Dispose();
        folders.Dispose();
        GC.SuppressFinalize(this);
    }

    private protected string Copy(string name, params string[] without)
    {
        string target = folders[name];
        Directory.CreateDirectory(target);
        foreach (string file in new[] { "config.json", "model.safetensors" }.Except(without))
            File.Copy(Path.Combine(ConformanceTests.Folder, name, file), Path.Combine(target, file));
        return target;
    }

    private protected string CopyShards()
    {
        string target = folders["shards"];
        Directory.CreateDirectory(target);
        foreach (string file in Directory.GetFiles(Path.Combine(ConformanceTests.Folder, "llama", "sharded_bf16")))
            File.Copy(file, Path.Combine(target, Path.GetFileName(file)));
        return target;
    }

    private protected static void Change(string folder, string file, Action<JsonObject> change)
    {
        string path = Path.Combine(folder, file);
        var json = JsonNode.Parse(File.ReadAllText(path))!.AsObject();
        change(json);
        File.WriteAllText(path, json.ToJsonString());
    }

    private protected static Dictionary<string, Tensor> Tensors(string folder)
    {
        using var file = SafetensorsFile.Open(Path.Combine(folder, "model.safetensors"));
        return file.Entries.ToDictionary(entry => entry.Name, entry => file.Read(entry.Name));
    }

    private protected static void Rewrite(string folder, Action<Dictionary<string, Tensor>> change)
    {
        var tensors = Tensors(folder);
        change(tensors);
        SafetensorsFile.Write(Path.Combine(folder, "model.safetensors"), tensors);
    }

    private protected static string Refused(string folder) =>
        Assert.Throws<InvalidDataException>(() => PretrainedModel.Load(folder).Dispose()).Message;

    private protected static Tensor Logits(HybridLanguageModel model)
    {
        using var noGrad = no_grad();
        return model.Forward(tensor(new long[] { 5, 9, 1, 30, 2 }).view(1, 5));
    }
}
