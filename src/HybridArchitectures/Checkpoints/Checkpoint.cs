using HybridArchitectures.Design;
using HybridArchitectures.Models;
using static TorchSharp.torch;

namespace HybridArchitectures.Checkpoints;

/// <summary>A model in a folder: its design as <c>design.json</c>, its tensors as <c>model.safetensors</c>.</summary>
public static class Checkpoint
{
    /// <summary>The design's file.</summary>
    public const string DesignFile = "design.json";

    /// <summary>The tensors' file.</summary>
    public const string ModelFile = "model.safetensors";

    const int NamesShown = 10;

    /// <summary>Saves a model. The folder appears, or replaces the one of an earlier save, when all of it is written.</summary>
    /// <param name="model">The model.</param>
    /// <param name="folder">A new or empty folder, or one that holds nothing but a model saved earlier.</param>
    /// <exception cref="ArgumentException">The folder holds other files, which the save would take away.</exception>
    public static void Save(HybridLanguageModel model, string folder)
    {
        ArgumentNullException.ThrowIfNull(model);
        Save(folder, [DesignFile, ModelFile], fresh => Write(model, fresh));
    }

    /// <summary>Replaces a checkpoint folder, after a look that nothing foreign goes with the old one.</summary>
    internal static void Save(string folder, IReadOnlyCollection<string> files, Action<string> write)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        if (Directory.Exists(folder) && Directory.EnumerateFileSystemEntries(folder).Select(Path.GetFileName).FirstOrDefault(name => !files.Contains(name)) is { } foreign)
            throw new ArgumentException($"'{folder}' holds '{foreign}', which saving here would take away; expected a new folder, or one with only {string.Join(", ", files)}", nameof(folder));
        AtomicWrite.Folder(folder, write);
    }

    /// <summary>Writes a model's two files into a folder that exists.</summary>
    internal static void Write(HybridLanguageModel model, string folder)
    {
        AtomicWrite.Text(Path.Combine(folder, DesignFile), model.Design.ToJson());
        SafetensorsFile.Write(Path.Combine(folder, ModelFile), model.State, new Dictionary<string, string> { ["format"] = "pt" });
    }

    /// <summary>Reads the design of a saved model.</summary>
    /// <exception cref="DirectoryNotFoundException">There is no such folder.</exception>
    /// <exception cref="FileNotFoundException">The folder has no <c>design.json</c>.</exception>
    /// <exception cref="InvalidDataException">The file holds no design.</exception>
    public static HybridDesign LoadDesign(string folder)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        AtomicWrite.Recover(folder);
        if (!Directory.Exists(folder)) throw new DirectoryNotFoundException($"no folder '{folder}'");
        var path = Path.Combine(folder, DesignFile);
        if (!File.Exists(path)) throw new FileNotFoundException($"no file '{path}'; expected a folder that {nameof(Checkpoint)}.{nameof(Save)} made", path);
        try
        {
            return HybridDesign.FromJson(File.ReadAllText(path));
        }
        catch (ArgumentException e)
        {
            throw new InvalidDataException($"{path}: {e.Message}", e);
        }
    }

    /// <summary>Makes the model that was saved in a folder.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="compute">The type of activations: float32 or bfloat16.</param>
    /// <param name="device">Where the model shall live; null for the CPU.</param>
    /// <exception cref="InvalidDataException">A file is damaged, or the tensors are not those of the design; they are named.</exception>
    public static HybridLanguageModel Load(string folder, ScalarType compute = ScalarType.Float32, Device? device = null)
    {
        var model = LoadDesign(folder).CreateModel(compute, device, seed: 0);
        try
        {
            LoadInto(model, folder);
            return model;
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <summary>Fills a model with the tensors saved in a folder. If any is missing, unexpected or of another shape, the model stays as it is.</summary>
    /// <param name="model">The model.</param>
    /// <param name="folder">The folder.</param>
    /// <exception cref="InvalidDataException">The tensors are not the model's; they are named.</exception>
    public static void LoadInto(HybridLanguageModel model, string folder)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentException.ThrowIfNullOrEmpty(folder);
        AtomicWrite.Recover(folder);
        using var file = SafetensorsFile.Open(Path.Combine(folder, ModelFile));
        LoadInto(model.State, file);
    }

    /// <summary>Fills tensors by name; all names must be there, and no others.</summary>
    internal static void LoadInto(IReadOnlyDictionary<string, Tensor> targets, SafetensorsFile file)
    {
        var missing = targets.Keys.Where(name => !file.Contains(name)).ToArray();
        var unexpected = file.Entries.Select(entry => entry.Name).Where(name => !targets.ContainsKey(name)).ToArray();
        var misshapen = file.Entries.Where(entry => targets.TryGetValue(entry.Name, out var target) && !Fits(entry, target))
            .Select(entry => $"{entry} (expected {targets[entry.Name].dtype}[{string.Join(", ", targets[entry.Name].shape)}])").ToArray();
        if (missing.Length + unexpected.Length + misshapen.Length > 0)
            throw new InvalidDataException($"{file.Path}: {string.Join("; ", new[] { Listed("missing", missing), Listed("unexpected", unexpected), Listed("of another shape or type", misshapen) }.OfType<string>())}");
        foreach (var (name, target) in targets) file.ReadInto(name, target);
    }

    static bool Fits(SafetensorsEntry entry, Tensor target) =>
        entry.Shape.SequenceEqual(target.shape) && (entry.Type == target.dtype || (IsFloat(entry.Type) && IsFloat(target.dtype)));

    static bool IsFloat(ScalarType type) => type is ScalarType.Float64 or ScalarType.Float32 or ScalarType.Float16 or ScalarType.BFloat16;

    static string? Listed(string what, string[] names) => names.Length == 0 ? null
        : $"{names.Length} {(names.Length == 1 ? "tensor" : "tensors")} {what}: {string.Join(", ", names.Take(NamesShown))}{(names.Length > NamesShown ? ", ..." : "")}";
}
