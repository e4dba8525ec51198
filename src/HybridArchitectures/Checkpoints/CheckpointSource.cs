using HybridArchitectures.Design;
using HybridArchitectures.Models;

namespace HybridArchitectures.Checkpoints;

/// <summary>A checkpoint on disk, of whichever layout.</summary>
sealed class CheckpointSource : IDisposable
{
    readonly string path;
    readonly List<IDisposable> files = [];
    readonly Func<HybridLanguageModel>? load;

    CheckpointSource(string path, string naming, HybridDesign? design, Func<HybridLanguageModel>? load) => (this.path, Naming, Design, this.load) = (path, naming, design, load);

    /// <summary>Two sources of one naming call the same tensor the same.</summary>
    public string Naming { get; }

    public HybridDesign? Design { get; }

    public IReadOnlyDictionary<string, StoredTensor> Tensors { get; private set; } = new Dictionary<string, StoredTensor>();

    public static CheckpointSource Open(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        AtomicWrite.Recover(path);
        if (!File.Exists(path) && !Directory.Exists(path))
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

    // tensors that no text model uses may be named by an index and be absent
    bool IsIgnored(string name) =>
        Design is not null && PretrainedFamily.Find(Naming) is { } family && family.IsIgnored(family.Canonical(name), Design);

    static CheckpointSource Describe(string path)
    {
        if (File.Exists(path)) return new(path, "tensors", null, null);
        if (File.Exists(Path.Combine(path, Checkpoint.DesignFile))) return new(path, "own", Checkpoint.LoadDesign(path), () => Checkpoint.Load(path));
        if (!File.Exists(Path.Combine(path, PretrainedFolder.ConfigFile))) return new(path, "tensors", null, null);
        var config = PretrainedConfig.Read(Path.Combine(path, PretrainedFolder.ConfigFile));
        // a checkpoint that this library cannot load, of another family or quantised, can still be compared tensor by tensor
        return PretrainedFamily.Find(config.ModelType) is null || config.Quantization is not null
            ? new(path, config.ModelType, null, null)
            : new(path, config.ModelType, PretrainedModel.LoadDesign(path), () => PretrainedModel.Load(path));
    }

    public HybridLanguageModel LoadModel(string argument) =>
        load?.Invoke() ?? throw new ArgumentException($"'{path}' holds tensors but no model this library knows: only files of the same names can be compared with it, without tokens", argument);

    public void Dispose()
    {
        foreach (var file in files) file.Dispose();
    }
}
