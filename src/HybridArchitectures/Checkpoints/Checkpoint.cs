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
    /// <param name="model">The model.</param>
    /// <param name="folder">A new or empty folder, or one that holds nothing but a model saved earlier.</param>
    /// <exception cref="ArgumentException">The folder holds other files, which the save would take away.</exception>
    public static void Save(HybridLanguageModel model, string folder)
    {
        ArgumentNullException.ThrowIfNull(model);
        AtomicWrite.Folder(folder, fresh => Write(model, fresh), [DesignFile, ModelFile]);
    }

    /// <summary>Writes a model's two files into a folder that exists; to be used inside <see cref="AtomicWrite.Folder"/> where more files belong to
    /// a checkpoint.</summary>
    public static void Write(HybridLanguageModel model, string folder)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentException.ThrowIfNullOrEmpty(folder);
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
        file.ReadInto(model.State);
    }
}
