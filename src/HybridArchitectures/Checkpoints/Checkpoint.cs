using HybridArchitectures.Adapters;
using HybridArchitectures.Design;
using HybridArchitectures.Models;
using HybridArchitectures.Storage;
using static TorchSharp.torch;

namespace HybridArchitectures.Checkpoints;

/// <summary>Saves and loads models in folders: the design is <c>design.json</c>, and the tensors are <c>model.safetensors</c>.</summary>
/// <example>
/// <code>
/// HybridDesign design = HybridDesign.Create(width: 64, vocabularySize: 256).WithMamba2(stateSize: 16, headSize: 16)
///     .WithFeedForward(FeedForwardSpec.SwiGlu(96)).Depth(2).Build();
/// using (var model = design.CreateModel(seed: 0)) Checkpoint.Save(model, "example-model");
/// using var loaded = Checkpoint.Load("example-model", ScalarType.BFloat16);        // bfloat16 activations, float32 parameters
/// Console.WriteLine(loaded.Design);
/// </code>
/// </example>
public static class Checkpoint
{
    /// <summary>Specifies the file name of the design.</summary>
    public const string DesignFile = "design.json";

    /// <summary>Specifies the file name of the tensors.</summary>
    public const string ModelFile = "model.safetensors";

    /// <summary>Saves a model. The folder is created or replaced atomically.</summary>
    /// <param name="model">
    /// The model. Attached low-rank adapters that are not merged are saved too, and <see cref="Load"/> attaches them again.
    /// </param>
    /// <param name="folder">A new or empty folder, or one that contains only a saved model.</param>
    /// <param name="type">The dtype of the parameters in the file: float32 (the default), bfloat16 or float16.</param>
    /// <exception cref="ArgumentException">The folder contains other files, which would be deleted.</exception>
    /// <exception cref="ObjectDisposedException">The model is disposed.</exception>
    /// <remarks>
    /// Several threads and processes can save to one folder and load from it at the same time. <see cref="AtomicWrite.Folder"/> describes how.
    /// </remarks>
    public static void Save(HybridLanguageModel model, string folder, ScalarType type = ScalarType.Float32)
    {
        ArgumentNullException.ThrowIfNull(model);
        model.RequireAlive();
        if (type is not (ScalarType.Float32 or ScalarType.BFloat16 or ScalarType.Float16))
            throw Require.Refusal(nameof(type), type, "Float32, BFloat16 or Float16");
        AtomicWrite.Folder(folder, fresh => Write(model, fresh, type), [DesignFile, ModelFile]);
    }

    /// <summary>
    /// Writes the two files of a model to an existing folder. Use it inside <see cref="AtomicWrite.Folder"/> if a checkpoint has more files.
    /// </summary>
    public static void Write(HybridLanguageModel model, string folder) => Write(model, folder, ScalarType.Float32);

    static void Write(HybridLanguageModel model, string folder, ScalarType type)
    {
        ArgumentNullException.ThrowIfNull(model);
        Require.NotEmpty(folder);
        var metadata = Metadata(model);
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        // parameters only: the balancing biases of experts change in steps that half precision would round to 0
        var rounded = model.AllParameters().Select(item => item.Name).ToHashSet(StringComparer.Ordinal);
        var tensors = model.WholeState().ToDictionary(item => item.Key, item => rounded.Contains(item.Key) ? item.Value.to(type) : item.Value);
        AtomicWrite.Text(Path.Combine(folder, DesignFile), model.Design.ToJson());
        SafetensorsFile.Write(Path.Combine(folder, ModelFile), tensors, metadata);
    }

    /// <summary>Returns the metadata of the file of tensors of a model.</summary>
    internal static Dictionary<string, string> Metadata(HybridLanguageModel model)
    {
        var metadata = model.Adapters() is { IsMerged: false } adapters ? adapters.Metadata() : [];
        metadata["format"] = "pt";
        return metadata;
    }

    /// <summary>Reads the design of a saved model.</summary>
    /// <param name="folder">The folder.</param>
    /// <exception cref="DirectoryNotFoundException">The folder does not exist.</exception>
    /// <exception cref="FileNotFoundException">The folder has no <c>design.json</c>.</exception>
    /// <exception cref="InvalidDataException">The file does not contain a design.</exception>
    public static HybridDesign LoadDesign(string folder)
    {
        Require.NotEmpty(folder);
        return AtomicWrite.Read(folder, () => ReadDesign(folder));
    }

    static HybridDesign ReadDesign(string folder)
    {
        if (!Directory.Exists(folder)) throw new DirectoryNotFoundException(HubNames.NoFolder(folder));
        var path = Path.Combine(folder, DesignFile);
        if (!File.Exists(path))
            throw new FileNotFoundException($"no file '{path}'; expected a folder that {nameof(Checkpoint)}.{nameof(Save)} wrote", path);
        try
        {
            return HybridDesign.FromJson(BoundedFile.ReadText(path, BoundedFile.MaxTextBytes));
        }
        catch (ArgumentException e)
        {
            throw new InvalidDataException($"{path}: {Require.Text(e)}", e);
        }
    }

    /// <summary>Creates the model that was saved in a folder.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="compute">The dtype of activations: float32 (the default) or bfloat16.</param>
    /// <param name="device">The device of the model. The default, null, means the CPU.</param>
    /// <param name="weightType">
    /// The dtype of the weights in memory, as in <see cref="HybridDesignModels.CreateModel"/>: float32 (the default) or bfloat16. Tensors are
    /// converted one at a time, so loading needs the memory of one tensor in addition to the model.
    /// </param>
    /// <exception cref="InvalidDataException">A file is damaged, or the tensors are not those of the design. The message names them.</exception>
    public static HybridLanguageModel Load(string folder, ScalarType compute = ScalarType.Float32, Device? device = null,
        ScalarType weightType = ScalarType.Float32)
    {
        Require.NotEmpty(folder);
        // both files of one save, even while another process saves
        var (design, file) = AtomicWrite.Read(folder, () => (ReadDesign(folder), SafetensorsFile.Open(Path.Combine(folder, ModelFile))));
        using var opened = file;
        var model = design.CreateBlankModel(compute, device ?? CPU, weightType);
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

    /// <summary>Fills a model with saved tensors. If any is missing, unexpected or of another shape, the model does not change.</summary>
    /// <param name="model">The model.</param>
    /// <param name="folder">The folder.</param>
    /// <exception cref="InvalidDataException">The tensors are not those of the model. The message names them.</exception>
    public static void LoadInto(HybridLanguageModel model, string folder)
    {
        ArgumentNullException.ThrowIfNull(model);
        model.RequireAlive();
        Require.NotEmpty(folder);
        using var file = AtomicWrite.Read(folder, () => SafetensorsFile.Open(Path.Combine(folder, ModelFile)));
        file.ReadInto(model.State);
    }
}
