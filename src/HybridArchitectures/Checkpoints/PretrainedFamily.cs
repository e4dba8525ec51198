using System.Text.Json.Nodes;
using HybridArchitectures.Design;

namespace HybridArchitectures.Checkpoints;

/// <summary>
/// A family of checkpoints: how its <c>config.json</c> and its tensor names relate to a <see cref="HybridDesign"/> and the tensors of its model, in both directions.
/// </summary>
public abstract class PretrainedFamily
{
    readonly bool skipsPadding;
    readonly int? paddingId;

    /// <summary>A family; <paramref name="skipsPadding"/>: the embedding's look-up gives no gradient to <c>pad_token_id</c>, which is <paramref name="paddingId"/> where the key is absent.</summary>
    private protected PretrainedFamily(string modelType, string architecture, bool skipsPadding = false, int? paddingId = null) =>
        (ModelType, Architecture, this.skipsPadding, this.paddingId) = (modelType, architecture, skipsPadding, paddingId);

    /// <summary>The value of <c>model_type</c>.</summary>
    public string ModelType { get; }

    /// <summary>The value in <c>architectures</c>.</summary>
    public string Architecture { get; }

    /// <summary>The families there are, by name.</summary>
    public static IReadOnlyList<PretrainedFamily> All { get; } =
        [.. new PretrainedFamily[]
        {
            new LlamaFamily(), new MambaFamily(), new FalconMambaFamily(), new Mamba2Family(), new BambaFamily(), new JambaFamily(), new GraniteFamily(),
            new FalconH1Family(), new NemotronHFamily(), new Lfm2Family(), new Zamba2Family(),
            new Qwen3NextFamily(),
        }.OrderBy(family => family.ModelType, StringComparer.Ordinal)];

    /// <summary>The family of a name, or null.</summary>
    public static PretrainedFamily? Find(string modelType) => All.FirstOrDefault(family => family.ModelType == modelType);

    /// <summary>The head's name in every family.</summary>
    internal const string Head = "lm_head.weight";

    internal static string Names => string.Join(", ", All.Select(family => family.ModelType));

    /// <summary>Returns the design that a configuration describes.</summary>
    /// <param name="config">The configuration.</param>
    /// <param name="options">How settings are read; null for <see cref="PretrainedSemantics.AsTrained"/> and no ignored settings.</param>
    /// <exception cref="InvalidDataException">
    /// A setting is missing, of the wrong kind, of a value that no model can have, contradicted by another, or unknown; or the checkpoint is
    /// quantised.
    /// </exception>
    public HybridDesign ReadDesign(PretrainedConfig config, PretrainedLoadOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(config);
        var one = config.For(options);
        one.RefuseQuantized();
        return one.Within(() =>
        {
            var design = Read(one);
            if (skipsPadding) design = design with { PaddingId = one.PaddingId(design.VocabularySize, paddingId) };
            one.RefuseUnknown(ModelType, Unused);
            return design.Resolve();
        });
    }

    /// <summary>The configuration of a design, refused where the family cannot express it.</summary>
    /// <exception cref="ArgumentException">Names what the family cannot express.</exception>
    public JsonObject WriteConfig(HybridDesign design)
    {
        ArgumentNullException.ThrowIfNull(design);
        var config = new JsonObject
        {
            ["architectures"] = new JsonArray(Architecture),
            ["model_type"] = ModelType,
            ["vocab_size"] = design.VocabularySize,
            ["hidden_size"] = design.Width,
            ["tie_word_embeddings"] = design.TiedHead,
            ["initializer_range"] = design.Initialisation.StandardDeviation,
        };
        if (skipsPadding) config["pad_token_id"] = design.PaddingId;
        Write(design, config);
        Floats(config);
        return config;
    }

    // the reference tells 1.0 from 1: a number that may have a fraction is written with one
    static void Floats(JsonNode node)
    {
        switch (node)
        {
            case JsonObject members:
                foreach (var (key, value) in members.ToArray())
                    if (AsFloat(value) is { } number) members[key] = number;
                    else if (value is not null) Floats(value);
                break;
            case JsonArray items:
                for (int i = 0; i < items.Count; i++)
                    if (AsFloat(items[i]) is { } number) items[i] = number;
                    else if (items[i] is { } item) Floats(item);
                break;
        }
    }

    static JsonNode? AsFloat(JsonNode? node) => node is JsonValue value && value.TryGetValue(out double number) && !value.TryGetValue(out int _) && number == Math.Truncate(number) && Math.Abs(number) < 1e15
        ? JsonNode.Parse(number.ToString("F1", System.Globalization.CultureInfo.InvariantCulture)) : null;

    private protected abstract HybridDesign Read(PretrainedConfig config);

    /// <summary>
    /// Settings of the family's published configurations that do not change what its models compute, or that only some of its layers use.
    /// </summary>
    private protected virtual IReadOnlyCollection<string> Unused => [];

    /// <summary>Whether a setting can be taken over into a configuration that is written: it does not change what a model computes.</summary>
    internal bool IsUnused(string key) => UnusedSettings.Contains(key) || Unused.Contains(key);

    private protected abstract void Write(HybridDesign design, JsonObject config);

    /// <summary>The tensors of a checkpoint.</summary>
    internal abstract IEnumerable<TensorChoice> Tensors(HybridDesign design);

    /// <summary>
    /// The design that the tensors of a file have, where programs differ in what they make of the configuration. By default the one it describes.
    /// </summary>
    /// <param name="design">The design that the configuration describes.</param>
    /// <param name="has">Whether the file has a tensor, by its name in the spelling of <see cref="Tensors"/>.</param>
    internal virtual HybridDesign Fit(HybridDesign design, Func<string, bool> has) => design;

    /// <summary>A tensor's name in the spelling of <see cref="Tensors"/>.</summary>
    internal virtual string Canonical(string name) => name;

    /// <summary>Whether a tensor may be in a file and is not needed.</summary>
    internal virtual bool IsIgnored(string name, HybridDesign design) =>
        (design.TiedHead && name == Head) || name.EndsWith(".rotary_emb.inv_freq", StringComparison.Ordinal);

    private protected static string Block(int index) => $"stack.blocks.{index}.";

    /// <summary>What reading a configuration cannot tell and writing one need not: names, and settings that matter to training or speed alone.</summary>
    internal static HybridDesign Essence(HybridDesign design) => design with
    {
        Name = null,
        Initialisation = new(),
        PaddingId = null,
        HeadZLoss = 0,
        HeadZLossEverywhere = false,
        LogitScale = Math.Round(design.LogitScale, 12),        // families that divide logits write the inverse
        Blocks = [.. design.Blocks.Select(block => block with { Mixer = Essence(block.Mixer), FeedForward = Essence(block.FeedForward) })],
    };

    static MixerSpec? Essence(MixerSpec? mixer) => mixer switch
    {
        Mamba1Spec spec => spec with { TimeStepRange = new(1e-3, 0.1), TimeStepFloor = 1e-4 },
        Mamba2Spec spec => spec with
        {
            TimeStepRange = new(1e-3, 0.1), TimeStepFloor = 1e-4, DecayRange = new(0.01, 2), ChunkSize = 64, OutputBias = spec.HasOutputBias,
            NormBeforeGate = spec.GatedNorm && spec.NormBeforeGate, NormGroups = spec.GatedNorm ? spec.GatedNormGroups : 1,
            GatedNormEpsilon = spec.GatedNorm ? spec.GatedNormEpsilon : null,
        },
        GatedDeltaSpec spec => spec with { TimeStepRange = new(1e-3, 0.1), TimeStepFloor = 1e-4, DecayRange = new(0.01, 16), ChunkSize = 64 },
        IntraHybridSpec spec => spec with { Attention = (AttentionSpec)Essence(spec.Attention)!, StateSpace = Essence(spec.StateSpace)! },
        AttentionSpec { Scale: { } scale } spec when Math.Abs(scale * Math.Sqrt(spec.HeadSize) - 1) < 1e-12 => spec with { Scale = null },
        _ => mixer,
    };

    static FeedForwardSpec Essence(FeedForwardSpec feedForward) => feedForward is MixtureOfExpertsSpec spec
        ? spec with
        {
            BalanceRate = 0, RouterZLoss = 0, SharedExperts = spec.SharedWidth == 0 ? 0 : 1,
            Balance = spec.Balance == ExpertBalance.BiasUpdate ? ExpertBalance.BiasUpdate : ExpertBalance.None,
        }
        : feedForward;

    // what a configuration says once for all blocks is taken from the first that has it; reading the result back tells where others differ
    private protected static T First<T>(HybridDesign design) where T : MixerSpec
    {
        return design.Blocks.Select(block => block.Mixer).OfType<T>().FirstOrDefault() ?? throw Unfit($"blocks {design.Pattern}", $"at least one {typeof(T).Name}");
    }

    private protected static T? FirstOrNone<T>(HybridDesign design) where T : MixerSpec => design.Blocks.Select(block => block.Mixer).OfType<T>().FirstOrDefault();

    private protected static T? FirstFeedForward<T>(HybridDesign design) where T : FeedForwardSpec =>
        design.Blocks.Select(block => block.FeedForward).OfType<T>().FirstOrDefault();

    private protected static ArgumentException Unfit(string was, string expected) => new($"the design has {was}, expected {expected}", "design");

    private protected static void WriteRotary(JsonObject config, RotarySpec? rotary, bool withFraction = false)
    {
        rotary ??= new RotarySpec { Theta = 10_000 };
        config["rope_theta"] = rotary.Theta;
        var parameters = new JsonObject { ["rope_theta"] = rotary.Theta, ["rope_type"] = rotary.Scaling is null ? "default" : "llama3" };
        if (rotary.Scaling is { } scaling)
        {
            parameters["factor"] = scaling.Factor;
            parameters["low_freq_factor"] = scaling.LowFrequencyFactor;
            parameters["high_freq_factor"] = scaling.HighFrequencyFactor;
            parameters["original_max_position_embeddings"] = scaling.OriginalContextLength;
        }
        if (withFraction || rotary.Fraction != 1)
        {
            config["partial_rotary_factor"] = rotary.Fraction;
            parameters["partial_rotary_factor"] = rotary.Fraction;
        }
        if (rotary.Scaling is not null) config["rope_scaling"] = parameters.DeepClone();
        config["rope_parameters"] = parameters;
    }

    /// <summary>Writes the limits of time steps; nothing where there are none.</summary>
    private protected static void WriteLimit(JsonObject config, Interval? limit)
    {
        if (limit is null) return;
        config["time_step_limit"] = new JsonArray(limit.Minimum,
            limit.Maximum >= float.MaxValue ? new JsonObject { ["__float__"] = "Infinity" } : JsonValue.Create(limit.Maximum));
    }

    // transformers clamps at time_step_min, other programs at time_step_limit: both are written, so that the lower end is the same in all
    private protected static void WriteBothLimits(JsonObject config, Interval? limit)
    {
        WriteLimit(config, limit ?? new(0, float.MaxValue));
        config["time_step_min"] = limit is { Minimum: > 0 } ? limit.Minimum : PretrainedConfig.NoTimeStep;
    }

    // one norm for the whole inner width, as transformers computes it, is said where there are several groups
    private protected static void WriteNormGroups(JsonObject config, Mamba2Spec spec)
    {
        if (!spec.GatedNorm || spec.GatedNormGroups == spec.Groups) return;
        if (spec.NormGroups != 1)
            throw Unfit($"a gated norm of {spec.NormGroups} groups", $"1, or the {spec.Groups} groups of the state-space layer");
        config[PretrainedConfig.WholeNorm] = 1;
    }

    /// <summary>The chunk of the scan: any power of two gives the same numbers.</summary>
    private protected static int Chunk(PretrainedConfig config, string key, int otherwise)
    {
        int size = config.Int(key, otherwise);
        return size is >= 16 and <= 1024 && System.Numerics.BitOperations.IsPow2(size) ? size : 64;
    }

    private protected static void WriteAttention(JsonObject config, AttentionSpec spec)
    {
        config["num_attention_heads"] = spec.Heads;
        config["num_key_value_heads"] = spec.KeyValueHeads;
        config["head_dim"] = spec.HeadSize;
        config["attention_bias"] = spec.InputBias;
    }

    /// <summary>The width times a factor that need not be whole, rounded down.</summary>
    internal static int Expanded(PretrainedConfig config, string key, int width) => checked((int)(config.Double(key, 2) * width));

    private protected static EquatableList<BlockSpec> Blocks(int depth, Func<int, BlockSpec> block) => [.. Enumerable.Range(0, depth).Select(block)];
}
