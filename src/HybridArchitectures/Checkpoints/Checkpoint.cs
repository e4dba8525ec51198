using HybridArchitectures.Adapters;
using HybridArchitectures.Design;
using HybridArchitectures.Models;
using HybridArchitectures.Modules;
using HybridArchitectures.Storage;
using static TorchSharp.torch;

namespace HybridArchitectures.Checkpoints;

/// <summary>
/// Saves and loads models in folders: the design is <c>design.json</c>, and the tensors are <c>model.safetensors</c>. A head of multi-token
/// prediction is in <c>prediction_head.json</c> and <c>prediction_head.safetensors</c> next to them.
/// </summary>
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

    /// <summary>Specifies the file name of the design of a head of multi-token prediction.</summary>
    public const string PredictionHeadDesignFile = "prediction_head.json";

    /// <summary>Specifies the file name of the tensors of a head of multi-token prediction.</summary>
    public const string PredictionHeadFile = "prediction_head.safetensors";

    /// <summary>Gets the names of all files of a saved model.</summary>
    internal static IReadOnlyList<string> Files { get; } = [DesignFile, ModelFile, PredictionHeadDesignFile, PredictionHeadFile];

    /// <summary>Saves a model. The folder is created or replaced atomically.</summary>
    /// <param name="model">
    /// The model. Attached low-rank adapters that are not merged are saved too, and <see cref="Load"/> attaches them again.
    /// </param>
    /// <param name="folder">A new or empty folder, or one that contains only a saved model.</param>
    /// <param name="type">The dtype of the parameters in the file: float32 (the default), bfloat16 or float16.</param>
    /// <param name="predictionHead">
    /// The head of multi-token prediction of the model, which is saved too. With null, the default, the folder contains none afterwards.
    /// </param>
    /// <exception cref="ArgumentException">
    /// The folder contains other files, which would be deleted, or the head is not one of the model.
    /// </exception>
    /// <exception cref="ObjectDisposedException">The model is disposed.</exception>
    /// <remarks>
    /// Several threads and processes can save to one folder and load from it at the same time. <see cref="AtomicWrite.Folder"/> describes how.
    /// </remarks>
    public static void Save(
        HybridLanguageModel model, string folder, ScalarType type = ScalarType.Float32, PredictionHead? predictionHead = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        model.RequireAlive();
        predictionHead?.RequireFit(model);
        if (type is not (ScalarType.Float32 or ScalarType.BFloat16 or ScalarType.Float16))
            throw Require.Refusal(nameof(type), type, "Float32, BFloat16 or Float16");
        AtomicWrite.Folder(folder, fresh => Write(model, predictionHead, fresh, type), Files);
    }

    /// <summary>
    /// Writes the two files of a model to an existing folder. Use it inside <see cref="AtomicWrite.Folder"/> if a checkpoint has more files.
    /// </summary>
    public static void Write(HybridLanguageModel model, string folder) => Write(model, null, folder, ScalarType.Float32);

    /// <summary>Writes the files of a model, and of its head of multi-token prediction if there is one, to an existing folder.</summary>
    internal static void Write(HybridLanguageModel model, PredictionHead? head, string folder, ScalarType type)
    {
        ArgumentNullException.ThrowIfNull(model);
        Require.NotEmpty(folder);
        var metadata = Metadata(model);
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        AtomicWrite.Text(Path.Combine(folder, DesignFile), model.Design.ToJson());
        SafetensorsFile.Write(Path.Combine(folder, ModelFile), Rounded(model, model.WholeState(), type), metadata);
        if (head is null) return;
        AtomicWrite.Text(Path.Combine(folder, PredictionHeadDesignFile), head.Design.ToJson());
        SafetensorsFile.Write(Path.Combine(folder, PredictionHeadFile), Rounded(head, head.State, type));
    }

    // parameters only: the balancing biases of experts change in steps that half precision would round to 0
    static Dictionary<string, Tensor> Rounded(HybridModule module, IReadOnlyDictionary<string, Tensor> state, ScalarType type)
    {
        var rounded = module.AllParameters().Select(item => item.Name).ToHashSet(StringComparer.Ordinal);
        return state.ToDictionary(item => item.Key, item => rounded.Contains(item.Key) ? item.Value.to(type) : item.Value);
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

    static HybridDesign ReadDesign(string folder, string name = DesignFile)
    {
        if (!Directory.Exists(folder)) throw new DirectoryNotFoundException(HubNames.NoFolder(folder));
        var path = Path.Combine(folder, name);
        if (!File.Exists(path))
        {
            string other = !File.Exists(Path.Combine(folder, PretrainedFolder.ConfigFile)) ? ""
                : $"; {nameof(PretrainedModel)}.{nameof(PretrainedModel.Load)} reads the {PretrainedFolder.ConfigFile} of this folder";
            throw new FileNotFoundException($"no file '{path}'; expected a folder that {nameof(Checkpoint)}.{nameof(Save)} wrote{other}", path);
        }
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

    /// <summary>Returns whether a folder contains a saved head of multi-token prediction.</summary>
    /// <param name="folder">The folder.</param>
    public static bool HasPredictionHead(string folder)
    {
        Require.NotEmpty(folder);
        return AtomicWrite.Read(folder, () => File.Exists(Path.Combine(folder, PredictionHeadDesignFile)));
    }

    /// <summary>Creates the head of multi-token prediction that was saved in a folder.</summary>
    /// <param name="folder">The folder, for example a checkpoint of a training run.</param>
    /// <param name="model">The model. The head has the same types, on the same device.</param>
    /// <returns>The head. The caller disposes it.</returns>
    /// <exception cref="FileNotFoundException">The folder contains no head.</exception>
    /// <exception cref="InvalidDataException">A file is damaged, or the tensors are not those of the design. The message names them.</exception>
    /// <exception cref="ArgumentException">The model has another width or vocabulary than the head.</exception>
    public static PredictionHead LoadPredictionHead(string folder, HybridLanguageModel model)
    {
        ArgumentNullException.ThrowIfNull(model);
        model.RequireAlive();
        Require.NotEmpty(folder);
        var (design, file) = OpenHead(folder);
        using var opened = file;
        var head = design.CreateBlankPredictionHead(model.ComputeType, model.Device, model.WeightType);
        try
        {
            head.RequireFit(model);
            file.ReadInto(head.State);
            return head;
        }
        catch
        {
            head.Dispose();
            throw;
        }
    }

    /// <summary>Fills a head with the saved tensors of one of the same design.</summary>
    internal static void LoadInto(PredictionHead head, string folder)
    {
        var (design, file) = OpenHead(folder);
        using var opened = file;
        if (design.Diff(head.Design) is { Count: > 0 } differences)
            throw Require.Unfit(nameof(head), $"head differs from that of {folder} in {string.Join("; ", differences)}", "a head of the same design");
        file.ReadInto(head.State);
    }

    static (HybridDesign Design, SafetensorsFile File) OpenHead(string folder) => AtomicWrite.Read(
        folder, () => (ReadDesign(folder, PredictionHeadDesignFile), SafetensorsFile.Open(Path.Combine(folder, PredictionHeadFile))));
}
