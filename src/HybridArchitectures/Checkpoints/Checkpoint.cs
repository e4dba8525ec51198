using HybridArchitectures.Adapters;
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

    /// <summary>Saves a model. The folder appears, or replaces the one of an earlier save, when all of it is written.</summary>
    /// <param name="model">The model. Low-rank adapters that are attached and not merged are saved with it, and attached again by <see cref="Load"/>.</param>
    /// <param name="folder">A new or empty folder, or one that holds nothing but a model saved earlier.</param>
    /// <param name="type">The type of the parameters in the file: float32, bfloat16 or float16.</param>
    /// <exception cref="ArgumentException">The folder holds other files, which the save would take away.</exception>
    /// <exception cref="ObjectDisposedException">The model has been disposed.</exception>
    /// <remarks>
    /// Threads and processes may save to one folder and load from it at the same time; <see cref="AtomicWrite.Folder"/> describes how.
    /// </remarks>
    public static void Save(HybridLanguageModel model, string folder, ScalarType type = ScalarType.Float32)
    {
        ArgumentNullException.ThrowIfNull(model);
        model.RequireAlive();
        if (type is not (ScalarType.Float32 or ScalarType.BFloat16 or ScalarType.Float16)) throw new ArgumentException($"type is {type}; expected Float32, BFloat16 or Float16", nameof(type));
        AtomicWrite.Folder(folder, fresh => Write(model, fresh, type), [DesignFile, ModelFile]);
    }

    /// <summary>Writes a model's two files into a folder that exists; to be used inside <see cref="AtomicWrite.Folder"/> where more files belong to
    /// a checkpoint.</summary>
    public static void Write(HybridLanguageModel model, string folder) => Write(model, folder, ScalarType.Float32);

    static void Write(HybridLanguageModel model, string folder, ScalarType type)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentException.ThrowIfNullOrEmpty(folder);
        var metadata = model.Adapters is { IsMerged: false } adapters ? adapters.Metadata() : [];
        metadata["format"] = "pt";
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        // parameters alone: the balance of experts moves in steps that half precision would swallow
        var rounded = type == ScalarType.Float32 ? [] : model.AllParameters().Select(item => item.Name).ToHashSet(StringComparer.Ordinal);
        var tensors = model.WholeState().ToDictionary(item => item.Key, item => rounded.Contains(item.Key) ? item.Value.to(type) : item.Value);
        AtomicWrite.Text(Path.Combine(folder, DesignFile), model.Design.ToJson());
        SafetensorsFile.Write(Path.Combine(folder, ModelFile), tensors, metadata);
    }

    /// <summary>Reads the design of a saved model.</summary>
    /// <exception cref="DirectoryNotFoundException">There is no such folder.</exception>
    /// <exception cref="FileNotFoundException">The folder has no <c>design.json</c>.</exception>
    /// <exception cref="InvalidDataException">The file holds no design.</exception>
    public static HybridDesign LoadDesign(string folder)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        return AtomicWrite.Read(folder, () => ReadDesign(folder));
    }

    static HybridDesign ReadDesign(string folder)
    {
        if (!Directory.Exists(folder)) throw new DirectoryNotFoundException(HubNames.NoFolder(folder));
        var path = Path.Combine(folder, DesignFile);
        if (!File.Exists(path)) throw new FileNotFoundException($"no file '{path}'; expected a folder that {nameof(Checkpoint)}.{nameof(Save)} made", path);
        try
        {
            RegularFile.Require(path);
            return HybridDesign.FromJson(File.ReadAllText(path));
        }
        catch (ArgumentException e)
        {
            throw new InvalidDataException($"{path}: {Require.Text(e)}", e);
        }
    }

    /// <summary>Makes the model that was saved in a folder.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="compute">The type of activations: float32 or bfloat16.</param>
    /// <param name="device">Where the model shall live; null for the CPU.</param>
    /// <exception cref="InvalidDataException">A file is damaged, or the tensors are not those of the design; they are named.</exception>
    public static HybridLanguageModel Load(string folder, ScalarType compute = ScalarType.Float32, Device? device = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        // both files of one save, also while another process saves there
        var (design, file) = AtomicWrite.Read(folder, () => (ReadDesign(folder), SafetensorsFile.Open(Path.Combine(folder, ModelFile))));
        using var opened = file;
        var model = design.CreateBlankModel(compute, device ?? CPU);
        try
        {
            LoraAdapters.AttachAs(model, file);
            file.ReadInto(model.State);
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
        model.RequireAlive();
        ArgumentException.ThrowIfNullOrEmpty(folder);
        using var file = AtomicWrite.Read(folder, () => SafetensorsFile.Open(Path.Combine(folder, ModelFile)));
        file.ReadInto(model.State);
    }
}
