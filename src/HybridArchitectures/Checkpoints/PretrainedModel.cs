using System.Text.Json;
using System.Text.Json.Nodes;
using HybridArchitectures.Adapters;
using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Models;
using HybridArchitectures.Modules;
using HybridArchitectures.Storage;
using static TorchSharp.torch;

namespace HybridArchitectures.Checkpoints;

/// <summary>
/// Loads and saves models in the format of Hugging Face: <c>config.json</c> and safetensors. <see cref="PretrainedFamily.All"/> lists the supported
/// families.
/// </summary>
/// <example>
/// <code>
/// HybridDesign design = HybridDesign.Create(width: 64, vocabularySize: 256).WithAttention(heads: 4)
///     .WithFeedForward(FeedForwardSpec.SwiGlu(96)).Depth(2).Build();
/// using (var model = design.CreateModel(seed: 0)) PretrainedModel.Save(model, "example-llama", "llama");
/// using var loaded = PretrainedModel.Load("example-llama", ScalarType.BFloat16);
/// Console.WriteLine(loaded.Design.Pattern);                                          // TT
/// </code>
/// </example>
public static class PretrainedModel
{
    const int NamesShown = 20;

    /// <summary>Reads the design of a checkpoint.</summary>
    /// <param name="folder">A local folder.</param>
    /// <param name="options">The options for reading settings. The default, null, means the default values.</param>
    /// <exception cref="DirectoryNotFoundException">
    /// The folder does not exist. The message explains how to download one from the Hugging Face Hub.
    /// </exception>
    /// <exception cref="FileNotFoundException">The folder has no <c>config.json</c>.</exception>
    /// <exception cref="InvalidDataException">
    /// The family is unknown, the configuration is damaged or has unknown settings, or the weights are quantized.
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
    /// <param name="compute">The dtype of activations: float32 (the default) or bfloat16.</param>
    /// <param name="device">The device of the model. The default, null, means the CPU.</param>
    /// <param name="progress">Receives the share of loaded tensors, from 0 to 1.</param>
    /// <param name="options">
    /// The options for reading settings. The default, null, reads the model as it was trained and refuses unknown settings.
    /// </param>
    /// <param name="weightType">
    /// The dtype of the weights in memory, independent of the file, as in <see cref="HybridDesignModels.CreateModel"/>: float32 (the default) or
    /// bfloat16. Tensors are converted one at a time, so loading needs the memory of one tensor in addition to the model.
    /// </param>
    /// <exception cref="DirectoryNotFoundException">
    /// The folder does not exist. The message explains how to download one from the Hugging Face Hub.
    /// </exception>
    /// <exception cref="FileNotFoundException">A file is missing.</exception>
    /// <exception cref="NotSupportedException">
    /// <see cref="PretrainedLoadOptions.MultiTokenPrediction"/> is set, but the folder has no head that can be loaded.
    /// </exception>
    /// <exception cref="InvalidDataException">
    /// The family is unknown, a file is damaged, a setting is unknown, the weights are quantized, or tensors are missing, unexpected or of another
    /// shape. The message names them.
    /// </exception>
    public static HybridLanguageModel Load(string folder, ScalarType compute = ScalarType.Float32, Device? device = null,
        IProgress<double>? progress = null, PretrainedLoadOptions? options = null, ScalarType weightType = ScalarType.Float32)
    {
        ModuleChecks.WeightType(weightType);
        var (family, config) = ReadConfig(folder);
        config.RefuseQuantized();
        RefuseQuantized(folder);
        var described = family.ReadDesign(config, options);
        using var files = PretrainedFolder.Open(folder, name => family.IsIgnored(family.Canonical(name), described));
        var actual = Names(family, files, folder, described);
        var design = WithOwnHead(family.Fit(described, actual.ContainsKey), family, files, actual);
        RefuseQuantized(folder, files);
        string[] names = [.. files.Names.Select(family.Canonical)];
        if (options is { MultiTokenPrediction: true }) RequireHead(family, config.For(options), described, names, folder);
        Note(family, names, folder, options ?? new());
        // before memory is allocated for sizes that only the configuration declares
        long expected = design.CountParameters().Total;
        if (expected / 2 > files.Elements + (1 << 20))
            throw new InvalidDataException(
                $"{folder}: {PretrainedFolder.ConfigFile} describes {expected} parameters, but the files contain {files.Elements} elements");
        var model = design.CreateBlankModel(compute, device ?? CPU, weightType);
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

    /// <summary>
    /// Loads the head of multi-token prediction in a folder, with which <see cref="Generation.GenerationOptions.PredictionHead"/> drafts tokens.
    /// </summary>
    /// <param name="folder">The folder from which <paramref name="model"/> was loaded.</param>
    /// <param name="model">The model. The head has the same types, on the same device.</param>
    /// <param name="options">How settings are read. The default, null, means the defaults.</param>
    /// <returns>The head. The caller disposes it.</returns>
    /// <exception cref="NotSupportedException">
    /// Heads of the family cannot be loaded. Those of the Qwen3.5 families and of nemotron_h can.
    /// </exception>
    /// <exception cref="ArgumentException">The model has another width or vocabulary than the folder.</exception>
    /// <exception cref="InvalidDataException">
    /// The folder has no head, or <see cref="Load"/> would refuse its settings or files.
    /// </exception>
    public static PredictionHead LoadPredictionHead(string folder, HybridLanguageModel model, PretrainedLoadOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        var (family, config) = ReadConfig(folder);
        var (prefix, part) = PretrainedFamily.PredictionHeads;
        var design = family.PredictionDesign(config.For(options), family.ReadDesign(config, options)) ?? throw new NotSupportedException(
            $"{folder}: model_type is {family.ModelType}; expected a Qwen3.5 family or nemotron_h, whose heads of {part} can be loaded.");
        using var files = PretrainedFolder.Open(folder, IsIgnored);
        RefuseQuantized(folder, files);
        var actual = files.Tensors.Keys.Where(name => !IsIgnored(name)).ToDictionary(name => name, StringComparer.Ordinal);
        if (actual.Count == 0) throw new InvalidDataException($"{folder}: no tensors of {part} ({prefix}*); expected those of a head");
        var head = design.CreateBlankPredictionHead(model.ComputeType, model.Device, model.WeightType);
        try
        {
            Fill(head.State, family.PredictionTensors(design), files, actual, folder, IsIgnored, null);
            head.RequireFit(model);
            head.eval();
            return head;
        }
        catch
        {
            head.Dispose();
            throw;
        }
    }

    static bool IsIgnored(string name) => !name.StartsWith(PretrainedFamily.PredictionHeads.Prefix, StringComparison.Ordinal);

    /// <summary>
    /// Returns whether a folder contains tensors of a head of multi-token prediction, in a family whose heads <see cref="LoadPredictionHead"/> loads.
    /// </summary>
    /// <param name="folder">The folder.</param>
    /// <exception cref="InvalidDataException">The configuration or a file is damaged, or the family is unknown.</exception>
    public static bool HasPredictionHead(string folder)
    {
        var (family, _) = ReadConfig(folder);
        if (!family.HasPrediction) return false;
        using var files = PretrainedFolder.Open(folder, _ => true);
        return files.Names.Any(name => !IsIgnored(name));
    }

    // refuses a folder without a head of multi-token prediction that can be loaded, which the caller needs
    static void RequireHead(PretrainedFamily family, PretrainedConfig config, HybridDesign design, IEnumerable<string> names, string folder)
    {
        var (count, text) = Listed(names, PretrainedFamily.PredictionHeads.Prefix);
        string reason = "";
        try
        {
            if (count > 0 && family.PredictionDesign(config, design) is not null) return;
        }
        catch (InvalidDataException error)
        {
            reason = $" {error.Message}.";
        }
        throw new NotSupportedException($"options.{nameof(PretrainedLoadOptions.MultiTokenPrediction)} is true; expected false, or a folder of a "
            + $"Qwen3.5 family or of nemotron_h with such a head. model_type is {family.ModelType}. The tensors of heads in {folder}: "
            + $"{(count > 0 ? text : "it has none")}.{reason}");
    }

    // names what is not loaded
    static void Note(PretrainedFamily family, IEnumerable<string> names, string folder, PretrainedLoadOptions options)
    {
        var (heads, _) = PretrainedFamily.PredictionHeads;
        foreach (var (prefix, part) in family.NotLoaded)
            if (Listed(names, prefix) is { Count: > 0 } found && !(options.MultiTokenPrediction && prefix == heads))
                options.Notes?.Report($"{folder}: {found.Count} tensors of {part} ({prefix}*) are not loaded: {found.Text}.");
    }

    static (int Count, string Text) Listed(IEnumerable<string> names, string prefix)
    {
        string[] all = [.. names.Where(name => name.StartsWith(prefix, StringComparison.Ordinal)).Order(StringComparer.Ordinal)];
        return (all.Length, string.Join(", ", all.Take(NamesShown)) + (all.Length > NamesShown ? ", ..." : ""));
    }

    static (PretrainedFamily, PretrainedConfig) ReadConfig(string folder)
    {
        Require.NotEmpty(folder);
        if (!Directory.Exists(folder)) throw new DirectoryNotFoundException(HubNames.NoFolder(folder));
        if (!File.Exists(Path.Combine(folder, PretrainedFolder.ConfigFile)) && File.Exists(Path.Combine(folder, Checkpoint.DesignFile)))
            throw new FileNotFoundException(
                $"no file '{Path.Combine(folder, PretrainedFolder.ConfigFile)}'; expected a checkpoint of Hugging Face; "
                + $"{nameof(Checkpoint)}.{nameof(Checkpoint.Load)} reads the {Checkpoint.DesignFile} of this folder");
        var config = PretrainedConfig.Read(Path.Combine(folder, PretrainedFolder.ConfigFile));
        var family = PretrainedFamily.Find(config.ModelType)
            ?? throw new InvalidDataException(
            $"{Path.Combine(folder, PretrainedFolder.ConfigFile)}: model_type is \"{config.ModelType}\"; expected one of {PretrainedFamily.Names}");
        return (family, config);
    }

    // quantization programs leave a separate file, or tensors with scales next to packed weights
    static readonly string[] quantizationFiles = ["hf_quant_config.json", "quantize_config.json", "quant_config.json"];
    static readonly string[] quantizationParts =
    [
        ".qweight", ".qzeros", ".g_idx", ".weight_packed", ".weight_scale", ".weight_scale_inv", ".weight_scale_2", ".scales", ".absmax",
        ".quant_map", ".SCB", "_blocks", "_scales",
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
            if (quantizationParts.Any(part => name.EndsWith(part, StringComparison.Ordinal)))
                throw Quantized(folder, $"it contains the tensor {name}");
            if (name.EndsWith(".weight", StringComparison.Ordinal) && file[name].Type is ScalarType.Byte or ScalarType.Int8 or ScalarType.Int32)
                throw Quantized(folder, $"the tensor {file[name]} contains integers");
        }
    }

    static InvalidDataException Quantized(string folder, string because) =>
        new($"{folder}: this checkpoint is quantised ({because}); expected weights in float32, bfloat16 or float16. "
            + SafetensorsTypes.NoQuantizedWeights);

    // the name of every tensor in the spelling of the family, and in that of the file
    static Dictionary<string, string> Names(PretrainedFamily family, PretrainedFolder files, string folder, HybridDesign design)
    {
        var actual = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (string name in files.Tensors.Keys)
            if (!actual.TryAdd(family.Canonical(name), name) && !family.IsIgnored(family.Canonical(name), design))
                throw new InvalidDataException($"{folder}: tensors '{name}' and '{actual[family.Canonical(name)]}' are the same");
        return actual;
    }

    // a file with a head that differs from the embedding is not tied, regardless of the configuration
    static HybridDesign WithOwnHead(HybridDesign design, PretrainedFamily family, PretrainedFolder files, Dictionary<string, string> actual)
    {
        if (!design.TiedHead || !actual.TryGetValue(PretrainedFamily.Head, out string? head)) return design;
        string embedding = family.Tensors(design).SelectMany(choice => choice.Forms[0]).First(rule => rule.Parts is [{ Name: "embedding" }]).File;
        if (!actual.TryGetValue(embedding, out string? table) || !files.Tensors[head][head].Shape.SequenceEqual(files.Tensors[table][table].Shape))
            return design;
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        return files.Tensors[head].Read(head).eq(files.Tensors[table].Read(table)).all().item<bool>() ? design : design with { TiedHead = false };
    }

    static void Fill(HybridLanguageModel model, PretrainedFamily family, PretrainedFolder files,
        Dictionary<string, string> actual, string folder, IProgress<double>? progress) =>
        Fill(model.State, family.Tensors(model.Design), files, actual, folder, name => family.IsIgnored(name, model.Design), progress);

    static void Fill(IReadOnlyDictionary<string, Tensor> state, IEnumerable<TensorChoice> choices, PretrainedFolder files,
        Dictionary<string, string> actual, string folder, Func<string, bool> isIgnored, IProgress<double>? progress)
    {
        long[]? Stored(string name) => actual.TryGetValue(name, out string? spelled) ? [.. files.Tensors[spelled][spelled].Shape] : null;
        var rules = RulesOf(choices, state, Stored);
        var wanted = rules.Select(rule => rule.File).ToHashSet(StringComparer.Ordinal);
        rules = [.. rules.Where(rule => !rule.IsComputed)];
        var missing = rules.Select(rule => rule.File).Distinct().Where(name => !actual.ContainsKey(name)).ToArray();
        var unexpected = actual.Where(item => !wanted.Contains(item.Key) && !isIgnored(item.Key)).Select(item => item.Value).ToArray();
        var misshapen = new List<string>();
        foreach (var rule in rules.Where(rule => actual.ContainsKey(rule.File)))
        {
            var entry = files.Tensors[actual[rule.File]][actual[rule.File]];
            var shape = rule.Shape(state);
            if (!entry.Shape.SequenceEqual(shape)
                || entry.Type is not (ScalarType.Float32 or ScalarType.BFloat16 or ScalarType.Float16 or ScalarType.Float64))
                misshapen.Add($"{entry} (expected floating-point [{string.Join(", ", shape)}])");
        }
        if (missing.Length + unexpected.Length + misshapen.Count > 0)
            throw new InvalidDataException($"{folder}: the tensors are not those of its {PretrainedFolder.ConfigFile}: " + string.Join("; ",
                new[] { Listed("missing", missing), Listed("unexpected", unexpected),
                Listed("of another shape or type", misshapen) }.OfType<string>()));
        for (int i = 0; i < rules.Length; i++)
        {
            string name = actual[rules[i].File];
            if (!rules[i].TryFill(files.Tensors[name], name, state))
                using (var stored = files.Tensors[name].Read(name)) rules[i].Fill(stored, state);
            progress?.Report((i + 1.0) / rules.Length);
        }
    }

    static string? Listed(string what, IReadOnlyList<string> names) => names.Count == 0 ? null
        : $"{names.Count} {(names.Count == 1 ? "tensor" : "tensors")} {what}: "
        + $"{string.Join(", ", names.Take(NamesShown))}{(names.Count > NamesShown ? ", ..." : "")}";

    // the rules of a file, some of whose tensors can have one of several forms
    static TensorRule[] RulesOf(IEnumerable<TensorChoice> choices, IReadOnlyDictionary<string, Tensor> state, Func<string, long[]?> stored)
    {
        bool Fits(TensorRule rule) => stored(rule.File) is { } shape && shape.SequenceEqual(rule.Shape(state));
        return [.. choices.SelectMany(choice => choice.In(name => stored(name) is not null, Fits))];
    }

    /// <summary>Returns whether the numbers of a tensor in files of a family are functions of those of the model.</summary>
    internal static bool IsMapped(HybridDesign design, string modelType, string file) =>
        PretrainedFamily.Find(modelType)!.Tensors(design).SelectMany(choice => choice.Forms[0]).Any(rule => rule.IsMapped && rule.File == file);

    /// <summary>Returns gradients by the names, and in the forms, that an existing file of a family has.</summary>
    /// <param name="design">The design.</param>
    /// <param name="modelType">The family.</param>
    /// <param name="gradients">The gradients by the names of <see cref="HybridLanguageModel.State"/>.</param>
    /// <param name="like">The file.</param>
    internal static IReadOnlyDictionary<string, Tensor> RenameGradients(
        HybridDesign design, string modelType, IReadOnlyDictionary<string, Tensor> gradients, SafetensorsFile like)
    {
        var (family, _) = Express(design, modelType);
        var spelled = like.Entries.ToDictionary(entry => family.Canonical(entry.Name), entry => entry, StringComparer.Ordinal);
        long[]? Stored(string name) => spelled.TryGetValue(name, out var entry) ? [.. entry.Shape] : null;
        string Name(TensorRule rule) => spelled.TryGetValue(rule.File, out var entry) ? entry.Name : rule.File;
        return RulesOf(family.Tensors(design), gradients, Stored).Where(rule => !rule.IsComputed).ToDictionary(
            Name, rule => rule.IsMapped ? rule.Gradient(like.Read(Name(rule)), gradients) : rule.Gather(gradients));
    }

    /// <summary>Returns tensors by their names in checkpoints of a family.</summary>
    /// <param name="design">The design.</param>
    /// <param name="modelType">The <c>model_type</c> of the family.</param>
    /// <param name="state">Tensors with the names of <see cref="HybridLanguageModel.State"/>: weights, gradients or moments.</param>
    /// <returns>
    /// New tensors or views, in the current dispose scope. The lower bounds of <c>hgrn2</c> are left out: the numbers in a file are functions of
    /// those of the model, and gradients or moments do not follow them.
    /// </returns>
    /// <exception cref="ArgumentException">The family is unknown or cannot express the design.</exception>
    public static IReadOnlyDictionary<string, Tensor> Rename(HybridDesign design, string modelType, IReadOnlyDictionary<string, Tensor> state)
    {
        ArgumentNullException.ThrowIfNull(design);
        Require.Values(state);
        var (family, _) = Express(design, modelType);
        return family.Tensors(design).SelectMany(choice => choice.Forms[0]).Where(rule => !rule.IsComputed && !rule.IsMapped)
            .ToDictionary(rule => rule.File, rule => rule.Gather(state));
    }

    /// <summary>Saves a model as a checkpoint of a family. The folder is created or replaced atomically.</summary>
    /// <param name="model">The model.</param>
    /// <param name="folder">A new or empty folder, or one that contains only the configuration and weights of a checkpoint.</param>
    /// <param name="modelType">The <c>model_type</c> of the family.</param>
    /// <param name="options">The dtype and the size of files. The default, null, means float32 in one file of up to 5 GB.</param>
    /// <exception cref="ArgumentException">
    /// The family is unknown or cannot express the design (the message lists the differences), or the folder contains other files.
    /// </exception>
    public static void Save(HybridLanguageModel model, string folder, string modelType, PretrainedSaveOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        if (model.Adapters() is { IsMerged: false })
            throw Require.Unfit(nameof(model), "model has low-rank adapters, which the format cannot store",
                "a model without adapters; merge or detach them first");
        options ??= new();
        if (options.Type is not (ScalarType.Float32 or ScalarType.BFloat16 or ScalarType.Float16))
            throw Require.Unfit(nameof(options), $"options.Type is {options.Type}", "Float32, BFloat16 or Float16");
        if (options.ShardBytes < 1) throw Require.Unfit(nameof(options), $"options.ShardBytes is {options.ShardBytes}", "at least 1");
        var (family, config) = Express(model.Design, modelType);
        string type = options.Type switch { ScalarType.Float32 => "float32", ScalarType.BFloat16 => "bfloat16", _ => "float16" };
        config["dtype"] = type;
        config["torch_dtype"] = type;
        if (options.PredictionHead is { } head) AddHead(model, head, family, config);
        if (options.SettingsFrom is { } settings) family.CopyUnused(settings, config);
        string[] own = [PretrainedFolder.ConfigFile, PretrainedFolder.SingleFile, PretrainedFolder.IndexFile, "generation_config.json"];
        var shards = Directory.Exists(folder) ? Directory.GetFiles(folder, "model-*-of-*.safetensors").Select(path => Path.GetFileName(path)) : [];
        AtomicWrite.Folder(folder, fresh =>
        {
            AtomicWrite.Text(Path.Combine(fresh, PretrainedFolder.ConfigFile),
                config.ToJsonString(new JsonSerializerOptions { WriteIndented = true }) + "\n");
            WriteWeights(model, family, fresh, options);
        }, [.. own, .. shards]);
    }

    // writes the settings of a head; the head that is read back must be the intended one
    static void AddHead(HybridLanguageModel model, PredictionHead head, PretrainedFamily family, JsonObject config)
    {
        head.RequireFit(model);
        try
        {
            family.WritePrediction(head.Design, config);
            var written = PretrainedConfig.Parse(config.ToJsonString(), $"{family.ModelType} configuration");
            var again = family.PredictionDesign(written, family.ReadDesign(written))!;
            if (PretrainedFamily.Essence(head.Design).Diff(PretrainedFamily.Essence(again)) is not { Count: > 0 } differences) return;
            throw Require.Unfit("options", $"options.PredictionHead cannot be expressed as {family.ModelType}, where it would become "
                + string.Join("; ", differences.Take(NamesShown)), "a head like those of that family");
        }
        catch (InvalidDataException error)
        {
            throw Require.Because("options", $"options.PredictionHead cannot be expressed as {family.ModelType}", error,
                "a head like those of that family");
        }
    }

    // the tensors to write, with the state that they come from
    static IEnumerable<(TensorRule Rule, IReadOnlyDictionary<string, Tensor> State)> Written(
        HybridLanguageModel model, PretrainedFamily family, PredictionHead? head)
    {
        var state = model.WholeState();
        foreach (var rule in family.Tensors(model.Design).SelectMany(choice => choice.Forms[0])) yield return (rule, state);
        if (head is null) yield break;
        var headState = head.State;
        foreach (var rule in family.PredictionTensors(head.Design).SelectMany(choice => choice.Forms[0])) yield return (rule, headState);
    }

    static void WriteWeights(HybridLanguageModel model, PretrainedFamily family, string folder, PretrainedSaveOptions options)
    {
        int size = options.Type == ScalarType.Float32 ? 4 : 2;
        var shards = new List<List<(TensorRule Rule, IReadOnlyDictionary<string, Tensor> State)>> { new() };
        long bytes = 0, total = 0;
        foreach (var (rule, state) in Written(model, family, options.PredictionHead))
        {
            long one = rule.Shape(state).Aggregate((long)size, (product, extent) => product * extent);
            if (bytes + one > options.ShardBytes && shards[^1].Count > 0)
            {
                shards.Add([]);
                bytes = 0;
            }
            shards[^1].Add((rule, state));
            bytes += one;
            total += one;
        }
        var map = new JsonObject();
        for (int i = 0; i < shards.Count; i++)
        {
            string name = shards.Count == 1 ? PretrainedFolder.SingleFile : $"model-{i + 1:d5}-of-{shards.Count:d5}.safetensors";
            using (NewDisposeScope())
            {
                // the weights of one file at a time
                var tensors = shards[i].ToDictionary(item => item.Rule.File, item => item.Rule.Gather(item.State).to(options.Type));
                SafetensorsFile.Write(Path.Combine(folder, name), tensors, new Dictionary<string, string> { ["format"] = "pt" });
            }
            foreach (var (rule, _) in shards[i]) map[rule.File] = name;
        }
        if (shards.Count == 1) return;
        var index = new JsonObject { ["metadata"] = new JsonObject { ["total_size"] = total }, ["weight_map"] = map };
        AtomicWrite.Text(Path.Combine(folder, PretrainedFolder.IndexFile),
            index.ToJsonString(new JsonSerializerOptions { WriteIndented = true }) + "\n");
    }

    internal static (PretrainedFamily Family, JsonObject Config) Express(HybridDesign design, string modelType)
    {
        ArgumentNullException.ThrowIfNull(modelType);
        var family = PretrainedFamily.Find(modelType)
            ?? throw Require.Unfit(nameof(modelType), $"modelType is \"{modelType}\"", $"one of {PretrainedFamily.Names}");
        JsonObject config;
        EquatableList<DesignDifference> differences;
        try
        {
            config = family.WriteConfig(design);
            // the design that is read back must be the intended one
            var again = family.ReadDesign(PretrainedConfig.Parse(config.ToJsonString(), $"{modelType} configuration"));
            differences = PretrainedFamily.Essence(design).Diff(PretrainedFamily.Essence(again));
        }
        catch (Exception error) when (error is InvalidDataException or ArgumentException)
        {
            throw Require.Because(nameof(design), $"design cannot be expressed as {modelType}", error, "a design of that family");
        }
        if (differences.Count > 0)
            throw Require.Unfit(nameof(design),
                $"design cannot be expressed as {modelType}, where it would become {string.Join("; ", differences.Take(NamesShown))}",
                "a design of that family");
        return (family, config);
    }
}
