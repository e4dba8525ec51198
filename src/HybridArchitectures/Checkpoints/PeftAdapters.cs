using System.Text.Json;
using System.Text.Json.Nodes;
using HybridArchitectures.Adapters;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Modules;
using HybridArchitectures.Storage;
using static TorchSharp.torch;

namespace HybridArchitectures.Checkpoints;

/// <summary>
/// Reads and writes adapters in the files of Hugging Face PEFT, <c>adapter_config.json</c> and <c>adapter_model.safetensors</c>, for the families of
/// <see cref="PretrainedFamily.All"/>.
/// </summary>
/// <remarks>
/// Supported: rank, alpha, rank-stabilized scaling, dropout, patterns of ranks and alphas, and adapters on layers that one of the two libraries has
/// fused. Refused by name: DoRA, trained biases, modules saved as a whole, and other variants.
/// </remarks>
public static class PeftAdapters
{
    const string WeightsFile = "adapter_model.safetensors";
    const int NamesShown = 10;

    /// <summary>Describes the adapter of a module in a file, with the names of its two tensors.</summary>
    readonly record struct StoredAdapter(PeftModule Module, LoraSize Size, string Down, string Up);

    /// <summary>Adds adapters from a PEFT folder to a model. All other parameters are frozen.</summary>
    /// <param name="model">The model on which they were trained, without adapters.</param>
    /// <param name="folder">A folder that was written by <c>save_pretrained</c> of PEFT.</param>
    /// <param name="modelType">The family of the model: the <c>model_type</c> of its <c>config.json</c>, for example <c>llama</c>.</param>
    /// <returns>The adapters. Disposing them detaches them.</returns>
    /// <exception cref="ArgumentException">The model already has adapters, or does not belong to the family.</exception>
    /// <exception cref="DirectoryNotFoundException">The folder does not exist.</exception>
    /// <exception cref="FileNotFoundException">One of the two files does not exist.</exception>
    /// <exception cref="InvalidDataException">
    /// The adapters are not plain LoRA, or belong to another model. The message names the setting or tensor.
    /// </exception>
    public static LoraAdapters Load(HybridLanguageModel model, string folder, string modelType)
    {
        ArgumentNullException.ThrowIfNull(model);
        Require.NotEmpty(folder);
        LoraAdapters.RequireNone(model);
        var modules = new PeftModules(model, PretrainedModel.Express(model.Design, modelType).Family);
        if (!Directory.Exists(folder)) throw new DirectoryNotFoundException(HubNames.NoFolder(folder));
        var config = PeftConfig.Read(folder);
        string path = Path.Combine(folder, WeightsFile);
        if (!File.Exists(path))
        {
            bool hasPickle = File.Exists(Path.Combine(folder, "adapter_model.bin"));
            throw new FileNotFoundException($"'{folder}' contains no {WeightsFile}"
                + (hasPickle ? "; its adapter_model.bin is a pickle, which is never read: let PEFT save it with safe_serialization" : ""));
        }
        using var file = SafetensorsFile.Open(path);
        var stored = Modules(file, modules, config);
        var options = OptionsFor(stored, config, path);
        var names = stored.SelectMany(item => item.Module.Parts).Select(part => part.Site.Name).ToHashSet(StringComparer.Ordinal);
        return LoraAdapters.AttachFrom(model, options, names, _ => Fill(file, stored), path);
    }

    // every tensor is one of the two tensors of a module
    static IReadOnlyList<StoredAdapter> Modules(SafetensorsFile file, PeftModules modules, PeftConfig config)
    {
        var tensors = new Dictionary<string, (string? Down, string? Up)>(StringComparer.Ordinal);
        foreach (var entry in file.Entries)
        {
            if (entry.Name.Contains("lora_magnitude_vector", StringComparison.Ordinal))
                throw Refusal(file, entry.Name, "plain LoRA: weight-decomposed adapters (DoRA) are not supported");
            if (entry.Name.Contains("lora_embedding_", StringComparison.Ordinal))
                throw Refusal(file, entry.Name, "linear layers: adapters on embeddings are not supported");
            var (module, isDown) = PeftModule.Parse(entry.Name)
                ?? throw Refusal(file, entry.Name, "names like base_model.model.MODULE.lora_A.weight and lora_B.weight");
            var both = tensors.GetValueOrDefault(module);
            tensors[module] = isDown ? (entry.Name, both.Up) : (both.Down, entry.Name);
        }
        if (tensors.Count == 0) throw new InvalidDataException($"{file.Path}: no adapters");
        return [.. tensors.Select(item => Checked(file, item.Key, item.Value, modules, config))];
    }

    static StoredAdapter Checked(SafetensorsFile file, string name, (string? Down, string? Up) tensors, PeftModules modules, PeftConfig config)
    {
        var module = modules.Find(name)
            ?? throw Refusal(file, tensors.Down ?? tensors.Up!, "linear layers of the model's family that are separate weights");
        if (tensors is not ({ } down, { } up)) throw Refusal(file, tensors.Down ?? tensors.Up!, "both lora_A and lora_B of a module");
        if (!config.IsTarget(name))
            throw Refusal(file, down, $"modules that target_modules of {PeftConfig.FileName} selects, because PEFT would ignore others");
        var size = config.SizeOf(name);
        foreach (var (tensor, shape) in new[] { (down, new[] { size.Rank, module.Inputs }), (up, [module.Outputs, size.Rank]) })
        {
            var entry = file[tensor];
            bool isFloat = entry.Type is ScalarType.Float32 or ScalarType.BFloat16 or ScalarType.Float16 or ScalarType.Float64;
            if (!isFloat || !entry.Shape.SequenceEqual(shape))
                throw new InvalidDataException($"{file.Path}: {entry}; expected floating-point [{string.Join(", ", shape)}], "
                    + $"for the rank {size.Rank} of {PeftConfig.FileName}.");
        }
        return new(module, size, down, up);
    }

    static InvalidDataException Refusal(SafetensorsFile file, string tensor, string expected) =>
        new($"{file.Path}: tensor is '{tensor}'; expected {expected}.");

    static LoraOptions OptionsFor(IReadOnlyList<StoredAdapter> stored, PeftConfig config, string path)
    {
        var usual = config.UsualSize;
        var sizes = new Dictionary<string, LoraSize>(StringComparer.Ordinal);
        foreach (var (module, size, _, _) in stored)
            foreach (var part in module.Parts)
                if (!sizes.TryAdd(part.Site.Name, size) && sizes[part.Site.Name] is var other && other != size)
                    throw new InvalidDataException($"{path}: rank and alpha of '{module.Name}' are {size.Rank} and {size.Alpha}; "
                        + $"expected those of the other experts, {other.Rank} and {other.Alpha}.");
        return new()
        {
            Rank = usual.Rank, Alpha = usual.Alpha, Dropout = config.Dropout,
            Sizes = [.. sizes.Where(item => item.Value != usual).Select(item => (item.Key, item.Value))],
        };
    }

    // experts that the file omits keep an adapter that adds 0
    static void Fill(SafetensorsFile file, IReadOnlyList<StoredAdapter> stored)
    {
        foreach (var (module, _, downName, upName) in stored)
        {
            using var scope = NewDisposeScope();
            using var noGrad = no_grad();
            Tensor down = file.Read(downName), up = file.Read(upName);
            long first = 0;
            foreach (var part in module.Parts)
            {
                var own = part.Matrices();
                own.Down.copy_(down);
                own.Up.copy_(up.narrow(0, first, part.Outputs));
                first += part.Outputs;
            }
        }
    }

    /// <summary>Saves adapters in the format of PEFT. The folder appears, or replaces an earlier one, when both files are complete.</summary>
    /// <param name="adapters">Adapters of a model that the family can express.</param>
    /// <param name="folder">A new or empty folder, or one that contains only adapters.</param>
    /// <param name="modelType">The <c>model_type</c> of the family, for example <c>llama</c>.</param>
    /// <param name="baseModel">The name or folder of the model that PEFT loads by default. The default, null, writes none.</param>
    /// <exception cref="ArgumentException">
    /// The family is unknown or cannot express the design, weights with adapters are not linear layers of the family (the message names them), or the
    /// folder contains other files.
    /// </exception>
    /// <remarks>
    /// If the family stores two weights of this library in one layer, for example gate and up, the two adapters become one with both ranks together.
    /// The result is the same.
    /// </remarks>
    public static void Save(LoraAdapters adapters, string folder, string modelType, string? baseModel = null)
    {
        ArgumentNullException.ThrowIfNull(adapters);
        adapters.RequireAttached();
        var modules = new PeftModules(adapters.Model, PretrainedModel.Express(adapters.Model.Design, modelType).Family);
        var adapted = modules.All.Where(module => module.Parts.Any(part => part.Site.Adapter is not null)).ToArray();
        var left = adapters.Weights.Except(adapted.SelectMany(module => module.Parts).Select(part => part.Site.Name)).ToArray();
        if (left.Length > 0)
            throw Require.Unfit(nameof(adapters), $"adapters is a set with {string.Join(", ", left.Take(NamesShown))}",
                $"weights that are linear layers of {modelType}, which PEFT can adapt");
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var tensors = new Dictionary<string, Tensor>(StringComparer.Ordinal);
        var others = new Dictionary<string, LoraSize>(StringComparer.Ordinal);
        var usual = new LoraSize(adapters.Options.Rank, adapters.Options.Alpha);
        foreach (var module in adapted)
        {
            var (down, up, size) = Joined(module);
            (tensors[module.Down], tensors[module.Up]) = (down, up);
            if (size != usual) others[module.Name] = size;
        }
        var targets = modules.TargetsOf(adapted.Select(module => module.Name).ToHashSet(StringComparer.Ordinal));
        var config = PeftConfig.Write(usual, adapters.Options.Dropout, targets, others, baseModel);
        AtomicWrite.Folder(folder, fresh =>
        {
            AtomicWrite.Text(Path.Combine(fresh, PeftConfig.FileName), Indented(config));
            SafetensorsFile.Write(Path.Combine(fresh, WeightsFile), tensors, new Dictionary<string, string> { ["format"] = "pt" });
        }, [PeftConfig.FileName, WeightsFile]);
    }

    static string Indented(JsonObject config)
    {
        using var stream = new MemoryStream();
        using (var writer = new Utf8JsonWriter(stream, new() { Indented = true })) config.WriteTo(writer);
        return System.Text.Encoding.UTF8.GetString(stream.ToArray()) + "\n";
    }

    // one adapter for the outputs of all parts: a common matrix for the inputs, or all matrices stacked, with zeros between the parts
    static (Tensor Down, Tensor Up, LoraSize Size) Joined(PeftModule module)
    {
        var parts = module.Parts.Where(part => part.Site.Adapter is not null).ToArray();
        var sizes = parts.Select(part => part.Site.Adapter!.Size).ToArray();
        var matrices = parts.Select(part => part.Matrices()).ToArray();
        if (module.Parts.Count == 1) return (matrices[0].Down, matrices[0].Up, sizes[0]);
        bool common = sizes.All(size => size == sizes[0]) && matrices.All(matrix => matrix.Down.equal(matrices[0].Down).all().item<bool>());
        int rank = common ? sizes[0].Rank : sizes.Sum(size => size.Rank);
        var up = zeros([module.Outputs, rank], float32, matrices[0].Up.device);
        long row = 0, column = 0;
        foreach (var part in module.Parts)
        {
            int index = Array.IndexOf(parts, part);
            if (index >= 0)
            {
                double share = sizes[index].Scale / sizes[0].Scale;
                var scaled = share == 1 ? matrices[index].Up : matrices[index].Up.mul(Scalars.From(share));
                up.narrow(0, row, part.Outputs).narrow(1, column, sizes[index].Rank).copy_(scaled);
                if (!common) column += sizes[index].Rank;
            }
            row += part.Outputs;
        }
        return (common ? matrices[0].Down : cat([.. matrices.Select(matrix => matrix.Down)], 0), up, new(rank, sizes[0].Scale * rank));
    }
}
