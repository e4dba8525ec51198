using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using HybridArchitectures.Modules;
using HybridArchitectures.Storage;

namespace HybridArchitectures.Checkpoints;

/// <summary>
/// Represents the <c>adapter_config.json</c> of PEFT for plain LoRA. Unsupported settings that change the output of an adapter are refused by name.
/// Settings about initialization or selection are ignored, because the tensors contain the result.
/// </summary>
sealed record PeftConfig
{
    public const string FileName = "adapter_config.json";
    const long MaxBytes = 16 << 20;
    const int MaxRank = 1 << 20;
    static readonly TimeSpan MaxMatchTime = TimeSpan.FromSeconds(1);

    // the tensors contain the effect of these settings, or they only concern training and files
    static readonly HashSet<string> Irrelevant = new(StringComparer.Ordinal)
    {
        "auto_mapping", "base_model_name_or_path", "revision", "inference_mode", "peft_version", "layers_to_transform", "layers_pattern",
        "loftq_config", "eva_config", "corda_config", "lora_ga_config", "megatron_core", "qalora_group_size", "ensure_weight_tying", "runtime_config",
    };

    // these initialize the adapter only; other methods also change the weights of the base model
    static readonly string[] PlainInitialisations = ["gaussian", "eva", "orthogonal"];

    readonly string path;

    PeftConfig(string path) => this.path = path;

    public int Rank { get; private init; } = 8;

    public double Alpha { get; private init; } = 8;

    public double Dropout { get; private init; }

    public bool IsRankStabilized { get; private init; }

    IReadOnlyList<(string Pattern, double Value)> Ranks { get; init; } = [];

    IReadOnlyList<(string Pattern, double Value)> Alphas { get; init; } = [];

    JsonElement Targets { get; init; }

    JsonElement Excluded { get; init; }

    /// <summary>Reads the file of a folder.</summary>
    public static PeftConfig Read(string folder)
    {
        string path = Path.Combine(folder, FileName);
        if (!File.Exists(path))
            throw new FileNotFoundException($"'{folder}' contains no {FileName}; expected a folder that save_pretrained of PEFT wrote");
        try
        {
            using var document = JsonDocument.Parse(BoundedFile.ReadText(path, MaxBytes));
            PretrainedConfig.RequireText(document.RootElement);
            var root = document.RootElement.Clone();
            if (root.ValueKind != JsonValueKind.Object) throw new InvalidDataException($"{path}: the JSON is {root.ValueKind}; expected an object");
            return Read(path, root);
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException)
        {
            throw new InvalidDataException($"{path}: not JSON ({error.Message})", error);
        }
    }

    static PeftConfig Read(string path, JsonElement root)
    {
        var config = new PeftConfig(path);
        string? type = null;
        foreach (var item in root.EnumerateObject())
        {
            var value = item.Value;
            switch (item.Name)
            {
                case "peft_type": type = value.ToString(); break;
                case "r": config = config with { Rank = (int)config.Number(item, 1, MaxRank, whole: true) }; break;
                case "lora_alpha": config = config with { Alpha = config.Number(item, double.MinValue, double.MaxValue) }; break;
                case "lora_dropout": config = config with { Dropout = config.Number(item, 0, Math.BitDecrement(1)) }; break;
                case "use_rslora": config = config with { IsRankStabilized = config.Flag(item) }; break;
                case "rank_pattern": config = config with { Ranks = config.Patterns(item, 1, MaxRank, whole: true) }; break;
                case "alpha_pattern": config = config with { Alphas = config.Patterns(item, double.MinValue, double.MaxValue) }; break;
                case "target_modules": config = config with { Targets = value }; break;
                case "exclude_modules": config = config with { Excluded = value }; break;
                case "bias": config.ExpectText(item, "none", ": trained biases are not supported"); break;
                case "task_type": config.ExpectText(item, "CAUSAL_LM"); break;
                case "init_lora_weights": config.CheckInitialisation(item); break;
                default: config.CheckOther(item); break;
            }
        }
        if (type != "LORA") throw new InvalidDataException($"{path}: peft_type is {(type is null ? "missing" : $"\"{type}\"")}; expected \"LORA\"");
        return config;
    }

    void ExpectText(JsonProperty item, string text, string reason = "") =>
        Expect(item.Value.ValueKind == JsonValueKind.Null || item.Value.ToString() == text, item, $"\"{text}\"{reason}");

    void CheckInitialisation(JsonProperty item)
    {
        bool isPlain = item.Value.ValueKind is JsonValueKind.True or JsonValueKind.False or JsonValueKind.Null
            || PlainInitialisations.Contains(item.Value.ToString());
        Expect(isPlain, item, $"true, false or one of {string.Join(", ", PlainInitialisations)}: others change the weights of the model too. "
            + "Let PEFT convert the adapter to plain LoRA when it saves it");
    }

    void CheckOther(JsonProperty item)
    {
        if (Irrelevant.Contains(item.Name)) return;
        string meaning = item.Name switch
        {
            "use_dora" => "weight-decomposed adapters (DoRA)",
            "use_qalora" => "quantisation-aware adapters (QA-LoRA)",
            "lora_bias" => "biases of adapters",
            "modules_to_save" => "modules trained as a whole",
            "fan_in_fan_out" => "weights stored as (inputs, outputs)",
            "layer_replication" => "repeated layers",
            "trainable_token_indices" => "trained rows of the embedding",
            "target_parameters" => "adapters on parameters that are no linear layer's",
            "alora_invocation_tokens" => "adapters that begin at a token (aLoRA)",
            "arrow_config" => "routing among adapters (Arrow)",
            "megatron_config" => "Megatron's parallel layers",
            _ => "this setting",
        };
        Expect(IsNeutral(item.Value), item, $"none or false: {meaning} cannot be read");
    }

    static bool IsNeutral(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Null or JsonValueKind.False => true,
        JsonValueKind.Array => value.GetArrayLength() == 0,
        JsonValueKind.Object => !value.EnumerateObject().Any(),
        _ => false,
    };

    void Expect(bool holds, JsonProperty item, string expected)
    {
        if (!holds) throw new InvalidDataException($"{path}: {item.Name} is {Shown(item.Value)}; expected {expected}.");
    }

    static string Shown(JsonElement value) => value.GetRawText() is { Length: <= 200 } text ? text : value.GetRawText()[..200] + "...";

    bool Flag(JsonProperty item)
    {
        Expect(item.Value.ValueKind is JsonValueKind.True or JsonValueKind.False, item, "true or false");
        return item.Value.GetBoolean();
    }

    double Number(JsonProperty item, double minimum, double maximum, bool whole = false)
    {
        double number = double.NaN;
        bool holds = item.Value.ValueKind == JsonValueKind.Number && item.Value.TryGetDouble(out number)
            && number >= minimum && number <= maximum && (!whole || number == Math.Floor(number));
        Expect(holds, item, whole ? $"a whole number from {minimum:0} to {maximum:0}" : minimum == 0 ? "a number from 0 to below 1" : "a number");
        return number;
    }

    IReadOnlyList<(string, double)> Patterns(JsonProperty item, double minimum, double maximum, bool whole = false)
    {
        if (item.Value.ValueKind == JsonValueKind.Null) return [];
        Expect(item.Value.ValueKind == JsonValueKind.Object, item, "an object of names and numbers");
        return [.. item.Value.EnumerateObject().Select(entry => (entry.Name, Number(entry, minimum, maximum, whole)))];
    }

    /// <summary>Returns rank and alpha of the adapter of a module. The first pattern that matches the end of its name decides, as in PEFT.</summary>
    public LoraSize SizeOf(string module) => Size((int)(Match(Ranks, module) ?? Rank), Match(Alphas, module) ?? Alpha);

    /// <summary>Gets rank and alpha of modules that no pattern matches.</summary>
    public LoraSize UsualSize => Size(Rank, Alpha);

    // alpha / sqrt(rank) equals (alpha sqrt(rank)) / rank: arXiv 2312.03732
    LoraSize Size(int rank, double alpha) => new(rank, IsRankStabilized ? alpha * Math.Sqrt(rank) : alpha);

    double? Match(IReadOnlyList<(string Pattern, double Value)> patterns, string module)
    {
        foreach (var (pattern, value) in patterns)
            if (IsMatch($@"^(.*\.)?({pattern})$", pattern, module)) return value;
        return null;
    }

    /// <summary>Returns whether PEFT would add an adapter to a module with this name.</summary>
    public bool IsTarget(string module) =>
        (Targets.ValueKind is JsonValueKind.Undefined or JsonValueKind.Null || IsNamed(Targets, module)) && !IsNamed(Excluded, module);

    bool IsNamed(JsonElement names, string module) => names.ValueKind switch
    {
        JsonValueKind.String => names.GetString() == "all-linear" || IsMatch($"^({names.GetString()})$", names.GetString()!, module),
        JsonValueKind.Array => names.EnumerateArray().Any(name => module == name.ToString() || module.EndsWith("." + name, StringComparison.Ordinal)),
        _ => false,
    };

    bool IsMatch(string expression, string shown, string module)
    {
        try
        {
            return Regex.IsMatch(module, expression, RegexOptions.CultureInvariant, MaxMatchTime);
        }
        catch (Exception error) when (error is ArgumentException or RegexMatchTimeoutException)
        {
            throw new InvalidDataException($"{path}: the pattern \"{shown}\" cannot be matched with '{module}': {Require.Text(error)}", error);
        }
    }

    /// <summary>Returns the contents of a file for adapters with one rank and alpha, except for the listed modules.</summary>
    /// <param name="usual">Rank and alpha of most modules.</param>
    /// <param name="dropout">The share of inputs that is dropped during training.</param>
    /// <param name="targets">The modules, or the ends of their names.</param>
    /// <param name="others">The modules with another rank or alpha.</param>
    /// <param name="baseModel">The name of the model to which the adapters belong. Null for none.</param>
    public static JsonObject Write(
        LoraSize usual, double dropout, IEnumerable<string> targets, IReadOnlyDictionary<string, LoraSize> others, string? baseModel)
    {
        JsonObject ranks = [], alphas = [];
        foreach (var (module, size) in others)
        {
            if (size.Rank != usual.Rank) ranks[module] = size.Rank;
            if (size.Alpha != usual.Alpha) alphas[module] = Plain(size.Alpha);
        }
        return new()
        {
            ["peft_type"] = "LORA",
            ["task_type"] = "CAUSAL_LM",
            ["base_model_name_or_path"] = baseModel,
            ["revision"] = null,
            ["auto_mapping"] = null,
            ["inference_mode"] = true,
            ["r"] = usual.Rank,
            ["lora_alpha"] = Plain(usual.Alpha),
            ["lora_dropout"] = dropout,
            ["use_rslora"] = false,
            ["use_dora"] = false,
            ["bias"] = "none",
            ["fan_in_fan_out"] = false,
            ["init_lora_weights"] = true,
            ["modules_to_save"] = null,
            ["layers_to_transform"] = null,
            ["layers_pattern"] = null,
            ["rank_pattern"] = ranks,
            ["alpha_pattern"] = alphas,
            ["target_modules"] = new JsonArray([.. targets.Select(name => (JsonNode)name)]),
        };
    }

    static JsonNode Plain(double number) => number == Math.Floor(number) && Math.Abs(number) < int.MaxValue ? (int)number : number;
}
