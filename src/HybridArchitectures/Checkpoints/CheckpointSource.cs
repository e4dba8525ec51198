using HybridArchitectures.Design;
using HybridArchitectures.Models;
using HybridArchitectures.Storage;

namespace HybridArchitectures.Checkpoints;

/// <summary>Represents a checkpoint on disk in any format.</summary>
sealed class CheckpointSource : IDisposable
{
    readonly string path;
    readonly List<IDisposable> files = [];
    readonly Func<HybridLanguageModel>? load;

    CheckpointSource(string path, string naming, HybridDesign? design, Func<HybridLanguageModel>? load) =>
        (this.path, Naming, Design, this.load) = (path, naming, design, load);

    /// <summary>Gets the naming scheme. Two sources with the same scheme use the same names for the same tensors.</summary>
    public string Naming { get; }

    public HybridDesign? Design { get; }

    public IReadOnlyDictionary<string, StoredTensor> Tensors { get; private set; } = new Dictionary<string, StoredTensor>();

    public static CheckpointSource Open(string path)
    {
        Require.NotEmpty(path);
        if (!File.Exists(path) && !AtomicWrite.Exists(path))
        {
            string message = HubNames.IsName(path) ? HubNames.NoFolder(path) : $"path is '{path}', which does not exist; expected a file or folder.";
            throw new FileNotFoundException(message, path);
        }
        var source = Describe(path);
        try
        {
            var tensors = new Dictionary<string, StoredTensor>(StringComparer.Ordinal);
            if (File.Exists(path) || File.Exists(Path.Combine(path, Checkpoint.DesignFile)))
            {
                var file = SafetensorsFile.Open(File.Exists(path) ? path : Path.Combine(path, Checkpoint.ModelFile));
                source.files.Add(file);
                foreach (var entry in file.Entries) tensors[entry.Name] = new(entry.Type, entry.Shape, () => file.Read(entry.Name));
            }
            else
            {
                var folder = PretrainedFolder.Open(path, source.IsIgnored);
                source.files.Add(folder);
                foreach (var (name, file) in folder.Tensors) tensors[name] = new(file[name].Type, file[name].Shape, () => file.Read(name));
            }
            source.Tensors = tensors;
            return source;
        }
        catch
        {
            source.Dispose();
            throw;
        }
    }

    // an index may name tensors that no text model uses and that are absent
    bool IsIgnored(string name) =>
        Design is not null && PretrainedFamily.Find(Naming) is { } family && family.IsIgnored(family.Canonical(name), Design);

    static CheckpointSource Describe(string path)
    {
        if (File.Exists(path)) return new(path, "tensors", null, null);
        if (File.Exists(Path.Combine(path, Checkpoint.DesignFile))) return new(path, "own", Checkpoint.LoadDesign(path), () => Checkpoint.Load(path));
        if (!File.Exists(Path.Combine(path, PretrainedFolder.ConfigFile))) return new(path, "tensors", null, null);
        var config = PretrainedConfig.Read(Path.Combine(path, PretrainedFolder.ConfigFile));
        // a checkpoint that this library cannot load (another family, quantized) can still be compared tensor by tensor
        return PretrainedFamily.Find(config.ModelType) is null || config.Quantization is not null
            ? new(path, config.ModelType, null, null)
            : new(path, config.ModelType, PretrainedModel.LoadDesign(path), () => PretrainedModel.Load(path));
    }

    public HybridLanguageModel LoadModel(string argument) =>
        load?.Invoke() ?? throw Require.Unfit(argument, $"{argument} is '{path}', which contains tensors but no supported model",
                "a supported model for a comparison by tokens; without tokens, files that have the same names");

    public void Dispose()
    {
        foreach (var file in files) file.Dispose();
    }
}
