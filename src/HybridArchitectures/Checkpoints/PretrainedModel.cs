using System.Text.Json;
using System.Text.Json.Nodes;
using HybridArchitectures.Design;
using HybridArchitectures.Models;
using static TorchSharp.torch;

namespace HybridArchitectures.Checkpoints;

/// <summary>Models in folders as Hugging Face has them: <c>config.json</c> and safetensors. See <see cref="PretrainedFamily.All"/> for what can be read and written.</summary>
public static class PretrainedModel
{
    const int NamesShown = 20;

    /// <summary>Reads the design of a checkpoint.</summary>
    /// <param name="folder">A local folder.</param>
    /// <param name="options">How its settings are read; null for the defaults.</param>
    /// <exception cref="DirectoryNotFoundException">There is no such folder. The message says how to get one from the Hugging Face Hub.</exception>
    /// <exception cref="FileNotFoundException">It has no <c>config.json</c>.</exception>
    /// <exception cref="InvalidDataException">
    /// The configuration is of an unknown family, damaged, holds unknown settings, or says that the weights are quantised.
    /// </exception>
    public static HybridDesign LoadDesign(string folder, PretrainedLoadOptions? options = null)
    {
        var (family, config) = ReadConfig(folder);
        return family.ReadDesign(config, options);
    }

    /// <summary>
    /// Loads a checkpoint. Its tensors must be exactly those of the design, except for a tied head and tensors that no text model uses.
    /// </summary>
    /// <param name="folder">A local folder.</param>
    /// <param name="compute">The type of activations: float32 or bfloat16. Weights are float32 whatever the file has.</param>
    /// <param name="device">Where the model shall live; null for the CPU.</param>
    /// <param name="progress">Told the share of tensors that are loaded, from 0 to 1.</param>
    /// <param name="options">How settings are read; null for the defaults: the model as it was trained, unknown settings refused.</param>
    /// <exception cref="DirectoryNotFoundException">There is no such folder. The message says how to get one from the Hugging Face Hub.</exception>
    /// <exception cref="FileNotFoundException">A file is missing.</exception>
    /// <exception cref="InvalidDataException">
    /// The family is unknown, a file is damaged, a setting is unknown, the weights are quantised, or tensors are missing, unexpected or of another
    /// shape; they are named.
    /// </exception>
    public static HybridLanguageModel Load(string folder, ScalarType compute = ScalarType.Float32, Device? device = null,
        IProgress<double>? progress = null, PretrainedLoadOptions? options = null)
    {
        var (family, config) = ReadConfig(folder);
        config.RefuseQuantized();
        RefuseQuantized(folder);
        var described = family.ReadDesign(config, options);
        using var files = PretrainedFolder.Open(folder, name => family.IsIgnored(family.Canonical(name), described));
        var actual = Names(family, files, folder, described);
        var design = WithOwnHead(family.Fit(described, actual.ContainsKey), family, files, actual);
        RefuseQuantized(folder, files);
        // before memory is taken for sizes that only the configuration claims
        long expected = design.CountParameters().Total;
        if (expected / 2 > files.Elements + (1 << 20))
            throw new InvalidDataException($"{folder}: {PretrainedFolder.ConfigFile} describes a model of {expected} parameters, but the files hold {files.Elements} numbers");
        var model = design.CreateBlankModel(compute, device ?? CPU);
        try
        {
            Fill(model, family, files, actual, folder, progress);
            return model;
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    static (PretrainedFamily, PretrainedConfig) ReadConfig(string folder)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        if (!Directory.Exists(folder)) throw new DirectoryNotFoundException(HubNames.NoFolder(folder));
        var config = PretrainedConfig.Read(Path.Combine(folder, PretrainedFolder.ConfigFile));
        var family = PretrainedFamily.Find(config.ModelType)
            ?? throw new InvalidDataException($"{Path.Combine(folder, PretrainedFolder.ConfigFile)}: model_type is \"{config.ModelType}\"; expected one of {PretrainedFamily.Names}");
        return (family, config);
    }

    // programs that quantise leave a file of their own, or tensors that hold scales next to packed weights
    static readonly string[] quantizationFiles = ["hf_quant_config.json", "quantize_config.json", "quant_config.json"];
    static readonly string[] quantizationParts =
    [
        ".qweight", ".qzeros", ".g_idx", ".weight_packed", ".weight_scale", ".weight_scale_inv", ".weight_scale_2", ".scales", ".absmax",
        ".quant_map", ".SCB",
    ];

    static void RefuseQuantized(string folder)
    {
        string? found = quantizationFiles.FirstOrDefault(file => File.Exists(Path.Combine(folder, file)));
        if (found is not null) throw Quantized(folder, $"{found} says so");
    }

    static void RefuseQuantized(string folder, PretrainedFolder files)
    {
        foreach (var (name, file) in files.Tensors)
        {
            if (quantizationParts.Any(part => name.EndsWith(part, StringComparison.Ordinal))) throw Quantized(folder, $"it holds the tensor {name}");
            if (name.EndsWith(".weight", StringComparison.Ordinal) && file[name].Type is ScalarType.Byte or ScalarType.Int8 or ScalarType.Int32)
                throw Quantized(folder, $"the tensor {file[name]} holds integers");
        }
    }

    static InvalidDataException Quantized(string folder, string because) =>
        new($"{folder}: this checkpoint is quantised ({because}); expected weights in float32, bfloat16 or float16. "
            + PretrainedConfig.NoQuantizedWeights);

    // the family's spelling of every tensor's name, and the file's
    static Dictionary<string, string> Names(PretrainedFamily family, PretrainedFolder files, string folder, HybridDesign design)
    {
        var actual = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (string name in files.Tensors.Keys)
            if (!actual.TryAdd(family.Canonical(name), name) && !family.IsIgnored(family.Canonical(name), design))
                throw new InvalidDataException($"{folder}: tensors '{name}' and '{actual[family.Canonical(name)]}' are the same");
        return actual;
    }

    // a file that has a head beside the embedding, with other numbers, is not tied whatever the configuration says
    static HybridDesign WithOwnHead(HybridDesign design, PretrainedFamily family, PretrainedFolder files, Dictionary<string, string> actual)
    {
        if (!design.TiedHead || !actual.TryGetValue(PretrainedFamily.Head, out string? head)) return design;
        string embedding = family.Tensors(design).SelectMany(choice => choice.Forms[0]).First(rule => rule.Parts is [{ Name: "embedding" }]).File;
        if (!actual.TryGetValue(embedding, out string? table) || !files.Tensors[head][head].Shape.SequenceEqual(files.Tensors[table][table].Shape)) return design;
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        return files.Tensors[head].Read(head).eq(files.Tensors[table].Read(table)).all().item<bool>() ? design : design with { TiedHead = false };
    }

    static void Fill(HybridLanguageModel model, PretrainedFamily family, PretrainedFolder files, Dictionary<string, string> actual, string folder, IProgress<double>? progress)
    {
        var state = model.State;
        var rules = family.Tensors(model.Design).SelectMany(choice => choice.In(actual.ContainsKey)).ToArray();
        var wanted = rules.Select(rule => rule.File).ToHashSet(StringComparer.Ordinal);
        var missing = wanted.Where(name => !actual.ContainsKey(name)).ToArray();
        var unexpected = actual.Where(item => !wanted.Contains(item.Key) && !family.IsIgnored(item.Key, model.Design)).Select(item => item.Value).ToArray();
        var misshapen = new List<string>();
        foreach (var rule in rules.Where(rule => actual.ContainsKey(rule.File)))
        {
            var entry = files.Tensors[actual[rule.File]][actual[rule.File]];
            var shape = rule.Shape(state);
            if (!entry.Shape.SequenceEqual(shape) || entry.Type is not (ScalarType.Float32 or ScalarType.BFloat16 or ScalarType.Float16 or ScalarType.Float64))
                misshapen.Add($"{entry} (expected floating-point [{string.Join(", ", shape)}])");
        }
        if (missing.Length + unexpected.Length + misshapen.Count > 0)
            throw new InvalidDataException($"{folder}: the tensors are not those of its {PretrainedFolder.ConfigFile}: " + string.Join("; ",
                new[] { Listed("missing", missing), Listed("unexpected", unexpected), Listed("of another shape or type", misshapen) }.OfType<string>()));
        for (int i = 0; i < rules.Length; i++)
        {
            string name = actual[rules[i].File];
            if (!rules[i].TryFill(files.Tensors[name], name, state))
                using (var stored = files.Tensors[name].Read(name)) rules[i].Fill(stored, state);
            progress?.Report((i + 1.0) / rules.Length);
        }
    }

    static string? Listed(string what, IReadOnlyList<string> names) => names.Count == 0 ? null
        : $"{names.Count} {(names.Count == 1 ? "tensor" : "tensors")} {what}: {string.Join(", ", names.Take(NamesShown))}{(names.Count > NamesShown ? ", ..." : "")}";

    /// <summary>Tensors by their names in a family's checkpoints.</summary>
    /// <param name="design">The design.</param>
    /// <param name="modelType">The family.</param>
    /// <param name="state">Tensors as <see cref="HybridLanguageModel.State"/> names them: weights, gradients, moments.</param>
    /// <returns>New tensors or views, in the current dispose scope.</returns>
    /// <exception cref="ArgumentException">The family is unknown or cannot express the design.</exception>
    public static IReadOnlyDictionary<string, Tensor> Rename(HybridDesign design, string modelType, IReadOnlyDictionary<string, Tensor> state)
    {
        ArgumentNullException.ThrowIfNull(design);
        ArgumentNullException.ThrowIfNull(state);
        var (family, _) = Express(design, modelType);
        return family.Tensors(design).SelectMany(choice => choice.Forms[0]).ToDictionary(rule => rule.File, rule => rule.Gather(state));
    }

    /// <summary>Saves a model as a checkpoint of a family. The folder appears, or replaces one written earlier, when all of it is written.</summary>
    /// <param name="model">The model.</param>
    /// <param name="folder">A new or empty folder, or one that holds nothing but a checkpoint's configuration and weights.</param>
    /// <param name="modelType">The family's <c>model_type</c>.</param>
    /// <param name="options">Element type, size of files; null for float32 in one file up to 5 GB.</param>
    /// <exception cref="ArgumentException">The family is unknown or cannot express the design (the message says what differs), or the folder holds other files.</exception>
    public static void Save(HybridLanguageModel model, string folder, string modelType, PretrainedSaveOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        if (model.Adapters is { IsMerged: false }) throw new ArgumentException("the model has low-rank adapters, which a family's files have no place for; merge or detach them first", nameof(model));
        options ??= new();
        if (options.Type is not (ScalarType.Float32 or ScalarType.BFloat16 or ScalarType.Float16))
            throw new ArgumentException($"options.Type is {options.Type}; expected Float32, BFloat16 or Float16", nameof(options));
        if (options.ShardBytes < 1) throw new ArgumentException($"options.ShardBytes is {options.ShardBytes}; expected at least 1", nameof(options));
        var (family, config) = Express(model.Design, modelType);
        string type = options.Type switch { ScalarType.Float32 => "float32", ScalarType.BFloat16 => "bfloat16", _ => "float16" };
        config["dtype"] = type;
        config["torch_dtype"] = type;
        // only settings that do not change what the model computes are taken over
        foreach (var entry in options.SettingsFrom?.Entries ?? [])
            if (!config.ContainsKey(entry.Name) && !Superseded.Contains(entry.Name) && family.IsUnused(entry.Name))
                config[entry.Name] = JsonNode.Parse(entry.Value.GetRawText());
        string[] own = [PretrainedFolder.ConfigFile, PretrainedFolder.SingleFile, PretrainedFolder.IndexFile, "generation_config.json"];
        var shards = Directory.Exists(folder) ? Directory.GetFiles(folder, "model-*-of-*.safetensors").Select(path => Path.GetFileName(path)) : [];
        AtomicWrite.Folder(folder, fresh =>
        {
            AtomicWrite.Text(Path.Combine(fresh, PretrainedFolder.ConfigFile), config.ToJsonString(new JsonSerializerOptions { WriteIndented = true }) + "\n");
            WriteWeights(model, family, fresh, options);
        }, [.. own, .. shards]);
    }

    // settings in another dialect than the one written
    static readonly string[] Superseded = [.. PretrainedConfig.RotaryKeys, "layers_block_type", "layer_types", "time_step_limit", "use_long_context"];

    static void WriteWeights(HybridLanguageModel model, PretrainedFamily family, string folder, PretrainedSaveOptions options)
    {
        var state = model.WholeState();
        int size = options.Type == ScalarType.Float32 ? 4 : 2;
        var shards = new List<List<TensorRule>> { new() };
        long bytes = 0, total = 0;
        foreach (var rule in family.Tensors(model.Design).SelectMany(choice => choice.Forms[0]))
        {
            long one = rule.Shape(state).Aggregate((long)size, (product, extent) => product * extent);
            if (bytes + one > options.ShardBytes && shards[^1].Count > 0)
            {
                shards.Add([]);
                bytes = 0;
            }
            shards[^1].Add(rule);
            bytes += one;
            total += one;
        }
        var map = new JsonObject();
        for (int i = 0; i < shards.Count; i++)
        {
            string name = shards.Count == 1 ? PretrainedFolder.SingleFile : $"model-{i + 1:d5}-of-{shards.Count:d5}.safetensors";
            using (NewDisposeScope())
            {
                // one file's weights at a time
                var tensors = shards[i].ToDictionary(rule => rule.File, rule => rule.Gather(state).to(options.Type));
                SafetensorsFile.Write(Path.Combine(folder, name), tensors, new Dictionary<string, string> { ["format"] = "pt" });
            }
            foreach (var rule in shards[i]) map[rule.File] = name;
        }
        if (shards.Count == 1) return;
        var index = new JsonObject { ["metadata"] = new JsonObject { ["total_size"] = total }, ["weight_map"] = map };
        AtomicWrite.Text(Path.Combine(folder, PretrainedFolder.IndexFile), index.ToJsonString(new JsonSerializerOptions { WriteIndented = true }) + "\n");
    }

    internal static (PretrainedFamily Family, JsonObject Config) Express(HybridDesign design, string modelType)
    {
        ArgumentNullException.ThrowIfNull(modelType);
        var family = PretrainedFamily.Find(modelType)
            ?? throw new ArgumentException($"modelType is \"{modelType}\"; expected one of {PretrainedFamily.Names}", nameof(modelType));
        JsonObject config;
        EquatableList<DesignDifference> differences;
        try
        {
            config = family.WriteConfig(design);
            // what is read back must be what was meant
            var again = family.ReadDesign(PretrainedConfig.Parse(config.ToJsonString(), $"{modelType} configuration"));
            differences = PretrainedFamily.Essence(design).Diff(PretrainedFamily.Essence(again));
        }
        catch (Exception error) when (error is InvalidDataException or ArgumentException)
        {
            throw new ArgumentException($"{modelType} cannot express the design: {Require.Text(error)}", nameof(design), error);
        }
        if (differences.Count > 0)
            throw new ArgumentException($"{modelType} cannot express the design; it would become: {string.Join("; ", differences.Take(NamesShown))}", nameof(design));
        return (family, config);
    }
}
