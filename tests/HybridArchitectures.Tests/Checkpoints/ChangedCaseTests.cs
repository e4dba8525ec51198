using System.Text.Json.Nodes;
using HybridArchitectures.Checkpoints;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Checkpoints;

/// <summary>Provides the base of tests that change the folders of recorded cases.</summary>
public abstract class ChangedCaseTests : IDisposable
{
    private protected readonly TemporaryFolder place = new();
    readonly TorchSharp.DisposeScope scope = NewDisposeScope();

    public void Dispose()
    {
        scope.Dispose();
        place.Dispose();
    }

    // copies the configuration of a case, changed, and optionally its weights
    private protected string Copy(string name, Action<JsonObject> change, bool weights = false)
    {
        string folder = place[name];
        Directory.CreateDirectory(folder);
        var config = JsonNode.Parse(File.ReadAllText(Path.Combine(ConformanceTests.Folder, name, "config.json")))!.AsObject();
        change(config);
        File.WriteAllText(Path.Combine(folder, "config.json"), config.ToJsonString());
        const string file = "model.safetensors";
        if (weights) File.Copy(Path.Combine(ConformanceTests.Folder, name, file), Path.Combine(folder, file), overwrite: true);
        return folder;
    }

    private protected string Write(string config)
    {
        File.WriteAllText(place["config.json"], config);
        return place.Path;
    }

    private protected static string Refused(string folder, PretrainedLoadOptions? options = null) =>
        Assert.Throws<InvalidDataException>(() => PretrainedModel.LoadDesign(folder, options)).Message;

    private protected static string RefusedToLoad(string folder) =>
        Assert.Throws<InvalidDataException>(() => PretrainedModel.Load(folder).Dispose()).Message;
}
