using System.Text.Json.Nodes;
using HybridArchitectures.Design;
using HybridArchitectures.Kernels;

namespace HybridArchitectures.Checkpoints;

/// <summary>
/// Describes a family of checkpoints: how its <c>config.json</c> and its tensor names correspond to a <see cref="HybridDesign"/> and the tensors of
/// its model, in both directions.
/// </summary>
public abstract class PretrainedFamily
{
    readonly bool skipsPadding;
    readonly int? paddingId;

    /// <summary>
    /// Initializes a family. If <paramref name="skipsPadding"/> is true, the embedding look-up gives no gradient to <c>pad_token_id</c>, whose
    /// default is <paramref name="paddingId"/>.
    /// </summary>
    private protected PretrainedFamily(string modelType, string architecture, bool skipsPadding = false, int? paddingId = null) =>
        (ModelType, Architecture, this.skipsPadding, this.paddingId) = (modelType, architecture, skipsPadding, paddingId);

    /// <summary>Gets the value of <c>model_type</c>.</summary>
    public string ModelType { get; }

    /// <summary>Gets the value in <c>architectures</c>.</summary>
    public string Architecture { get; }

    /// <summary>Returns <see cref="ModelType"/>.</summary>
    public sealed override string ToString() => ModelType;

    /// <summary>Gets all families, by name.</summary>
    public static IReadOnlyList<PretrainedFamily> All { get; } =
        [.. new PretrainedFamily[]
        {
            new LlamaFamily(), new MambaFamily(), new FalconMambaFamily(), new Mamba2Family(), new BambaFamily(), new JambaFamily(),
                new GraniteFamily(),
            new FalconH1Family(), new NemotronHFamily(), new Lfm2Family(), new Lfm2MoeFamily(), new Zamba2Family(),
            new Qwen3NextFamily(), new Qwen35Family("qwen3_5", "Qwen3_5ForConditionalGeneration"),
            new Qwen35Family("qwen3_5_text", "Qwen3_5ForCausalLM"),
            new Qwen35Family("qwen3_5_moe", "Qwen3_5MoeForConditionalGeneration"), new Qwen35Family("qwen3_5_moe_text", "Qwen3_5MoeForCausalLM"),
            new Qwen3Family(), new MistralFamily(), new Olmo3Family(), new OlmoHybridFamily(), new KimiLinearFamily(), new MiniMaxFamily(),
            new RecurrentGemmaFamily(), new GatedDeltaNetFamily(), new DeltaNetFamily(), new GlaFamily(), new Hgrn2Family(),
            new Mamba3Family(), new Rwkv7Family(),
        }.OrderBy(family => family.ModelType, StringComparer.Ordinal)];

    /// <summary>Returns the family with a name, or null.</summary>
    public static PretrainedFamily? Find(string modelType) => All.FirstOrDefault(family => family.ModelType == modelType);

    /// <summary>Specifies the name of the head in every family.</summary>
    internal const string Head = "lm_head.weight";

    internal static string Names => string.Join(", ", All.Select(family => family.ModelType));

    /// <summary>Returns the design that a configuration describes.</summary>
    /// <param name="config">The configuration.</param>
    /// <param name="options">
    /// How settings are read. The default, null, means <see cref="PretrainedSemantics.AsTrained"/> without ignored settings.
    /// </param>
    /// <exception cref="InvalidDataException">
    /// A setting is missing, has the wrong kind or an impossible value, is contradicted by another one, or is unknown, or the checkpoint is
    /// quantized.
    /// </exception>
    public HybridDesign ReadDesign(PretrainedConfig config, PretrainedLoadOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(config);
        var one = config.For(options);
        one.RefuseQuantized();
        return one.Within(() =>
        {
            var text = TextSettings(one);
            var design = Read(text);
            if (skipsPadding) design = design with { PaddingId = text.PaddingId(design.VocabularySize, paddingId) };
            text.RefuseUnknown(ModelType, Unused);
            if (text != one) one.RefuseUnknown(ModelType, OuterUnused);
            return design.Resolve();
        });
    }

    /// <summary>Returns the configuration of a design.</summary>
    /// <param name="design">The design.</param>
    /// <exception cref="ArgumentException">The family cannot express the design. The message names the property.</exception>
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
        config = Enclose(config);
        Floats(config);
        return config;
    }

    /// <summary>Returns the settings of the text model: those of the whole file, or of a section of a multimodal model.</summary>
    private protected virtual PretrainedConfig TextSettings(PretrainedConfig config) => config;

    /// <summary>Gets the settings outside <see cref="TextSettings"/> that have no effect on the text model.</summary>
    private protected virtual IReadOnlyCollection<string> OuterUnused => [];

    /// <summary>Returns the written configuration of settings of the text model.</summary>
    private protected virtual JsonObject Enclose(JsonObject config) => config;

    /// <summary>Copies settings that do not change the result of a model and that a written configuration does not have.</summary>
    internal virtual void CopyUnused(PretrainedConfig from, JsonObject to)
    {
        foreach (var entry in from.Entries)
            if (!to.ContainsKey(entry.Name) && !Superseded.Contains(entry.Name) && !CountsPredictionHeads(entry.Name) && IsUnused(entry.Name))
                to[entry.Name] = JsonNode.Parse(entry.Value.GetRawText());
    }

    // a written configuration announces a head of multi-token prediction only if one is written
    static bool CountsPredictionHeads(string key) =>
        key.StartsWith("mtp_", StringComparison.Ordinal) || key is PredictionLayers or "num_mtp_layers";

    /// <summary>Specifies the number of heads of multi-token prediction in several families.</summary>
    private protected const string PredictionLayers = "num_nextn_predict_layers";

    // settings in another dialect than the written one
    static readonly string[] Superseded = [.. PretrainedConfig.RotaryKeys, "layers_block_type", "layer_types", "time_step_limit", "use_long_context"];

    // transformers distinguishes 1.0 from 1: a number that may have a fraction is written with one
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

    static JsonNode? AsFloat(JsonNode? node) => node is JsonValue value && value.TryGetValue(out double number) && !value.TryGetValue(out int _)
        && number == Math.Truncate(number) && Math.Abs(number) < 1e15
        ? JsonNode.Parse(number.ToString("F1", System.Globalization.CultureInfo.InvariantCulture)) : null;

    private protected abstract HybridDesign Read(PretrainedConfig config);

    /// <summary>Gets settings in published configurations of the family that have no effect on its models, or only on some of its layers.</summary>
    private protected virtual IReadOnlyCollection<string> Unused => [];

    /// <summary>Returns whether a setting can be copied to a written configuration because it does not change the result of a model.</summary>
    internal bool IsUnused(string key) => UnusedSettings.Contains(key) || Unused.Contains(key);

    private protected abstract void Write(HybridDesign design, JsonObject config);

    /// <summary>Returns the tensors of a checkpoint.</summary>
    internal abstract IEnumerable<TensorChoice> Tensors(HybridDesign design);

    /// <summary>
    /// Returns the design of the tensors in a file, for configurations that programs interpret differently. By default, this is the design that the
    /// configuration describes.
    /// </summary>
    /// <param name="design">The design that the configuration describes.</param>
    /// <param name="has">Returns whether the file has a tensor, by its name in the spelling of <see cref="Tensors"/>.</param>
    internal virtual HybridDesign Fit(HybridDesign design, Func<string, bool> has) => design;

    /// <summary>Returns the name of a tensor in the spelling of <see cref="Tensors"/>.</summary>
    internal virtual string Canonical(string name) => name;

    /// <summary>
    /// Gets groups of tensors that are not loaded: the beginning of their names, and what they belong to. The default is none.
    /// </summary>
    internal virtual IReadOnlyList<(string Prefix, string Part)> NotLoaded => [];

    /// <summary>Gets whether heads of multi-token prediction of this family can be loaded. The default is false.</summary>
    internal virtual bool HasPrediction => false;

    /// <summary>
    /// Returns the design of the blocks of a head of multi-token prediction; null, the default, if <see cref="HasPrediction"/> is false.
    /// </summary>
    /// <param name="config">The configuration.</param>
    /// <param name="design">The design of the model.</param>
    internal virtual HybridDesign? PredictionDesign(PretrainedConfig config, HybridDesign design) => null;

    /// <summary>Writes the settings of a head of multi-token prediction with a design.</summary>
    /// <exception cref="ArgumentException">The family has no such heads, or cannot express this one.</exception>
    internal virtual void WritePrediction(HybridDesign head, JsonObject config) =>
        throw Require.Unfit("options", $"options has a head of {PredictionHeads.Part}, but modelType is \"{ModelType}\"",
            "a family whose heads can be written: Qwen3.5 or nemotron_h");

    /// <summary>Returns the tensors of a head of multi-token prediction with a design.</summary>
    internal virtual IEnumerable<TensorChoice> PredictionTensors(HybridDesign design) => [];

    /// <summary>Returns whether a tensor may be in a file but is not needed.</summary>
    internal virtual bool IsIgnored(string name, HybridDesign design) =>
        (design.TiedHead && name == Head) || name.EndsWith(".rotary_emb.inv_freq", StringComparison.Ordinal)
        || NotLoaded.Any(group => name.StartsWith(group.Prefix, StringComparison.Ordinal));

    /// <summary>Specifies the heads of multi-token prediction of several families.</summary>
    internal static readonly (string Prefix, string Part) PredictionHeads = ("mtp.", "multi-token prediction");

    internal static string Block(int index) => $"stack.blocks.{index}.";

    /// <summary>Returns the design without properties that a configuration does not contain: names, and settings of training or speed.</summary>
    internal static HybridDesign Essence(HybridDesign design) => design with
    {
        Name = null,
        Initialisation = new(),
        PaddingId = null,
        HeadZLoss = 0,
        HeadZLossEverywhere = false,
        LogitScale = Math.Round(design.LogitScale, 12),        // families that divide logits store the inverse
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
        RgLruSpec spec => spec with { DecayRange = new(0.9, 0.999) },
        Mamba3Spec spec => spec with { TimeStepRange = new(1e-3, 0.1), TimeStepFloor = 1e-4, ChunkSize = 64 },
        GatedLinearAttentionSpec spec => spec with { ChunkSize = 16 },
        Hgrn2Spec spec => spec with { ChunkSize = 16 },
        Rwkv7Spec spec => spec with { ChunkSize = 64, OutputNormEpsilon = spec.HeadNormEpsilon },
        LightningAttentionSpec spec => spec with { ChunkSize = 64, DecayScale = Math.Round(spec.DecayScale, 12) },
        KimiDeltaSpec spec => spec with { TimeStepRange = new(1e-3, 0.1), TimeStepFloor = 1e-4, DecayRange = new(1, 16), ChunkSize = 16 },
        IntraHybridSpec spec => spec with { Attention = (AttentionSpec)Essence(spec.Attention)!, StateSpace = Essence(spec.StateSpace)! },
        AttentionSpec { Scale: { } scale } spec when Math.Abs(scale * Math.Sqrt(spec.HeadSize) - 1) < 1e-12 => spec with { Scale = null },
        LatentAttentionSpec { Scale: { } scale } spec when Math.Abs(scale * Math.Sqrt(spec.KeySize) - 1) < 1e-12 => spec with { Scale = null },
        _ => mixer,
    };

    static FeedForwardSpec Essence(FeedForwardSpec feedForward) => feedForward is MixtureOfExpertsSpec spec
        ? spec with
        {
            BalanceRate = 0, RouterZLoss = 0, SharedExperts = spec.SharedWidth == 0 ? 0 : 1,
            Balance = spec.Balance == ExpertBalance.BiasUpdate ? ExpertBalance.BiasUpdate : ExpertBalance.None,
        }
        : feedForward;

    // settings that a configuration contains once for all blocks are taken from the first block; reading the result back detects differences
    private protected static T First<T>(HybridDesign design) where T : MixerSpec
    {
        return design.Blocks.Select(block => block.Mixer).OfType<T>().FirstOrDefault()
            ?? throw Unfit($"blocks {design.Pattern}", $"at least one {typeof(T).Name}");
    }

    /// <summary>
    /// Returns the first mixer of a kind. If a design has none, returns <paramref name="substitute"/>, whose sizes are then written without an
    /// effect, because a configuration has sizes of both kinds also if its layers are all of one kind.
    /// </summary>
    private protected static T FirstOr<T>(HybridDesign design, T substitute) where T : MixerSpec =>
        FirstOrNone<T>(design) ?? (T)substitute.Resolve(design.Width);

    private protected static T? FirstOrNone<T>(HybridDesign design) where T : MixerSpec =>
        design.Blocks.Select(block => block.Mixer).OfType<T>().FirstOrDefault();

    private protected static T? FirstFeedForward<T>(HybridDesign design) where T : FeedForwardSpec =>
        design.Blocks.Select(block => block.FeedForward).OfType<T>().FirstOrDefault();

    private protected static ArgumentException Unfit(string was, string expected) => new($"the design has {was}, expected {expected}", "design");

    private protected static void WriteRotary(JsonObject config, RotarySpec? rotary, bool withFraction = false)
    {
        rotary ??= new RotarySpec { Theta = 10_000 };
        config["rope_theta"] = rotary.Theta;
        var parameters = RotaryParameters(rotary, withFraction);
        if (parameters["partial_rotary_factor"] is { } fraction) config["partial_rotary_factor"] = fraction.DeepClone();
        // transformers takes this for the original length
        if (rotary.Scaling is DynamicRotaryScaling { OriginalContextLength: var length }) config["max_position_embeddings"] = length;
        if (rotary.Scaling is not null) config["rope_scaling"] = parameters.DeepClone();
        config["rope_parameters"] = parameters;
    }

    /// <summary>Returns the section of rotary positions.</summary>
    private protected static JsonObject RotaryParameters(RotarySpec rotary, bool withFraction = false)
    {
        var parameters = new JsonObject { ["rope_theta"] = rotary.Theta, ["rope_type"] = "default" };
        double fraction = rotary.Scaling is ProportionalRotaryScaling { Fraction: var part } ? part : rotary.Fraction;
        if (withFraction || fraction != 1) parameters["partial_rotary_factor"] = fraction;
        static JsonArray List(IEnumerable<double> values) => new([.. values.Select(value => JsonValue.Create(value))]);
        (string Key, JsonNode? Value)[] own = rotary.Scaling switch
        {
            null => [],
            Llama3RotaryScaling kind =>
            [
                ("rope_type", "llama3"), ("factor", kind.Factor), ("low_freq_factor", kind.LowFrequencyFactor),
                ("high_freq_factor", kind.HighFrequencyFactor), ("original_max_position_embeddings", kind.OriginalContextLength),
            ],
            LinearRotaryScaling kind => [("rope_type", "linear"), ("factor", kind.Factor)],
            DynamicRotaryScaling kind => [("rope_type", "dynamic"), ("factor", kind.Factor)],
            YarnRotaryScaling kind =>
            [
                ("rope_type", "yarn"), ("factor", kind.Factor), ("original_max_position_embeddings", kind.OriginalContextLength),
                ("attention_factor", kind.AttentionFactor), ("beta_fast", kind.FastTurns), ("beta_slow", kind.SlowTurns), ("truncate", kind.Truncate),
            ],
            LongRotaryScaling kind =>
            [
                ("rope_type", "longrope"), ("short_factor", List(kind.ShortFactors)), ("long_factor", List(kind.LongFactors)),
                ("original_max_position_embeddings", kind.OriginalContextLength), ("attention_factor", kind.AttentionFactor),
            ],
            ProportionalRotaryScaling kind => [("rope_type", "proportional"), ("factor", kind.Factor)],
            _ => throw Unfit($"a rotary scaling {rotary.Scaling.GetType().Name}", "one that configurations have"),
        };
        foreach (var (key, value) in own)
            if (value is not null) parameters[key] = value;
        return parameters;
    }

    /// <summary>Writes the limits of time steps, if there are any.</summary>
    private protected static void WriteLimit(JsonObject config, Interval? limit)
    {
        if (limit is null) return;
        config["time_step_limit"] = new JsonArray(limit.Minimum,
            limit.Maximum >= float.MaxValue ? new JsonObject { ["__float__"] = "Infinity" } : JsonValue.Create(limit.Maximum));
    }

    // transformers clamps at time_step_min and other programs at time_step_limit; both are written, so that the minimum is the same in all
    private protected static void WriteBothLimits(JsonObject config, Interval? limit)
    {
        WriteLimit(config, limit ?? new(0, float.MaxValue));
        config["time_step_min"] = limit is { Minimum: > 0 } ? limit.Minimum : PretrainedConfig.NoTimeStep;
    }

    // a single norm over the whole inner width, as in transformers, is stated if there are several groups
    private protected static void WriteNormGroups(JsonObject config, Mamba2Spec spec)
    {
        if (!spec.GatedNorm || spec.GatedNormGroups == spec.Groups) return;
        if (spec.NormGroups != 1)
            throw Unfit($"a gated norm of {spec.NormGroups} groups", $"1, or the {spec.Groups} groups of the state-space layer");
        config[PretrainedConfig.WholeNorm] = 1;
    }

    /// <summary>Returns the chunk size of the scan. Any power of two gives the same result.</summary>
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

    /// <summary>Writes depth, epsilon, attention and the SwiGLU of a transformer.</summary>
    private protected static void WriteTransformer(HybridDesign design, JsonObject config) =>
        WriteTransformer(design, First<AttentionSpec>(design), config);

    /// <summary>Writes the same with a given attention.</summary>
    private protected static void WriteTransformer(HybridDesign design, AttentionSpec attention, JsonObject config)
    {
        var feedForward = FirstFeedForward<SwiGluSpec>(design) ?? throw Unfit("no SwiGLU", "one in every block");
        config["num_hidden_layers"] = design.Depth;
        config["rms_norm_eps"] = design.NormEpsilon;
        WriteAttention(config, attention);
        config["intermediate_size"] = feedForward.Width;
        config["hidden_act"] = HuggingFaceNames.FromActivation(feedForward.Activation);
    }

    /// <summary>Writes which layers have a sliding window, and returns its length, or null without a window.</summary>
    private protected static int? WriteWindows(HybridDesign design, JsonObject config)
    {
        static bool Slides(BlockSpec block) => block.Mixer is AttentionSpec { Window: not null };
        int? window = design.Blocks.Where(Slides).Select(block => ((AttentionSpec)block.Mixer!).Window).FirstOrDefault();
        config["layer_types"] = new JsonArray([.. design.Blocks.Select(block =>
            JsonValue.Create(Slides(block) ? PretrainedConfig.SlidingLayer : PretrainedConfig.FullLayer))]);
        config["sliding_window"] = window;
        return window;
    }

    /// <summary>Returns the width times a factor, which can have a fraction, rounded down.</summary>
    internal static int Expanded(PretrainedConfig config, string key, int width) => checked((int)(config.Double(key, 2) * width));

    private protected static EquatableList<BlockSpec> Blocks(int depth, Func<int, BlockSpec> block) => [.. Enumerable.Range(0, depth).Select(block)];
}
