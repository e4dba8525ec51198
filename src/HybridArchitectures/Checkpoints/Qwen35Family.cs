using System.Text.Json.Nodes;
using HybridArchitectures.Design;

namespace HybridArchitectures.Checkpoints;

/// <summary>
/// Implements the text models of Qwen3.5, 3.6 and 3.8, dense and with experts: gated delta nets with separate projections, periodic layers of gated
/// attention, and zero-centered norms. <c>qwen3_5_text</c> and <c>qwen3_5_moe_text</c> are text models. <c>qwen3_5</c> and <c>qwen3_5_moe</c> are
/// multimodal folders, whose text model is read from <c>text_config</c> and <c>model.language_model</c>, and written there.
/// </summary>
sealed class Qwen35Family(string modelType, string architecture) : PretrainedFamily(modelType, architecture, skipsPadding: true)
{
    const string TextSection = "text_config", Suffix = "_text";

    bool IsMultimodal => !ModelType.EndsWith(Suffix, StringComparison.Ordinal);

    bool HasExperts => ModelType.Contains("_moe", StringComparison.Ordinal);

    string Root => IsMultimodal ? "model.language_model." : "model.";

    string TextType => IsMultimodal ? ModelType + Suffix : ModelType;

    private protected override PretrainedConfig TextSettings(PretrainedConfig config)
    {
        if (!IsMultimodal) return config;
        var text = config.Recorded(TextSection) ?? throw config.Refusal(TextSection, null, "the settings of the text model");
        text.Only("model_type", TextType);
        return text.Inherit("tie_word_embeddings", config);
    }

    private protected override HybridDesign Read(PretrainedConfig config)
    {
        int width = config.Int("hidden_size"), depth = config.Depth("num_hidden_layers"), heads = config.Int("num_attention_heads", 16);
        double epsilon = config.Double("rms_norm_eps", 1e-6);
        bool bias = config.Flag("attention_bias", false);
        config.Only("attn_output_gate", true);
        config.NoWindow();
        var attention = new AttentionSpec
        {
            Heads = heads, KeyValueHeads = config.KeyValueHeads(heads, HasExperts ? 2 : 4), HeadSize = config.Int("head_dim", 256), QkNorm = true,
            OutputGate = true, InputBias = bias, OutputBias = bias,
            Rotary = config.Rotary(fraction: config.Double("partial_rotary_factor", 0.25), multimodal: true),
        };
        var activation = config.Activation("hidden_act", "silu");
        var delta = Qwen3NextFamily.Delta(config, activation);
        FeedForwardSpec feedForward = HasExperts ? Qwen3NextFamily.Experts(config, activation, 256, 8)
            : new SwiGluSpec(config.Int("intermediate_size")) { Activation = activation };
        bool[] attends = Qwen3NextFamily.Attends(config, depth);
        return new HybridDesign
        {
            Name = ModelType, VocabularySize = config.Int("vocab_size"), Width = width, NormEpsilon = epsilon, ZeroCenteredNorms = true,
            TiedHead = config.Flag("tie_word_embeddings", false),
            Blocks = Blocks(depth, i => new() { Mixer = attends[i] ? attention : delta, FeedForward = feedForward, NormEpsilon = epsilon }),
        };
    }

    // a head of multi-token prediction is loaded separately; the other settings choose types of caches and kernels
    private protected override IReadOnlyCollection<string> Unused =>
    [
        "full_attention_interval", "mtp_num_hidden_layers", "mtp_use_dedicated_embeddings", "mamba_ssm_dtype", "num_nextn_predict_layers",
        .. HasExperts ? ["intermediate_size"] : (string[])[],
    ];

    private protected override IReadOnlyCollection<string> OuterUnused =>
        [TextSection, "vision_config", "language_model_only", "tie_word_embeddings", "vision_token_id", "model_type"];

    private protected override void Write(HybridDesign design, JsonObject config)
    {
        config["model_type"] = TextType;
        config["num_hidden_layers"] = design.Depth;
        config["rms_norm_eps"] = design.NormEpsilon;
        Qwen3NextFamily.WriteMixers(design, config);
        var (dense, experts) = (FirstFeedForward<SwiGluSpec>(design), FirstFeedForward<MixtureOfExpertsSpec>(design));
        if (HasExperts)
        {
            Qwen3NextFamily.WriteExperts(experts ?? throw Unfit("no experts", "experts in every block"), config);
            // these models always renormalize
            config.Remove("norm_topk_prob");
        }
        else config["intermediate_size"] = dense?.Width ?? throw Unfit("no SwiGLU", "one in every block");
    }

    private protected override JsonObject Enclose(JsonObject config)
    {
        if (!IsMultimodal) return config;
        config.Remove("architectures");
        return new()
        {
            ["architectures"] = new JsonArray(Architecture), ["model_type"] = ModelType,
            ["tie_word_embeddings"] = config["tie_word_embeddings"]!.DeepClone(), [TextSection] = config,
        };
    }

    internal override void CopyUnused(PretrainedConfig from, JsonObject to)
    {
        base.CopyUnused(from, to);
        if (to[TextSection] is JsonObject text && from.Section(TextSection) is { } section) base.CopyUnused(section, text);
    }

    internal override bool HasPrediction => true;

    internal override HybridDesign? PredictionDesign(PretrainedConfig config, HybridDesign design)
    {
        var text = TextSettings(config);
        if (text.Int("mtp_num_hidden_layers", 1) is not 1 and var layers)
            throw text.Refusal("mtp_num_hidden_layers", layers, "1, because heads of one layer are supported");
        text.Only("mtp_use_dedicated_embeddings", false);
        var block = design.Blocks.FirstOrDefault(one => one.Mixer is AttentionSpec)
            ?? throw text.Refusal("layer_types", text.Value("layer_types"), "a layer of attention, like which the head is");
        return (design with { Name = null, Blocks = [block] }).Resolve();
    }

    internal override void WritePrediction(HybridDesign head, JsonObject config)
    {
        var text = IsMultimodal ? config[TextSection]!.AsObject() : config;
        (text["mtp_num_hidden_layers"], text["mtp_use_dedicated_embeddings"]) = (head.Depth, false);
    }

    internal override IEnumerable<TensorChoice> PredictionTensors(HybridDesign design) =>
    [
        TensorRules.Rename("mtp.pre_fc_norm_embedding.weight", "embedding_norm.weight"),
        TensorRules.Rename("mtp.pre_fc_norm_hidden.weight", "hidden_norm.weight"),
        TensorRules.Rename("mtp.fc.weight", "input.weight"), TensorRules.Rename("mtp.norm.weight", "stack.norm.weight"),
        .. Layers(design, "mtp."),
    ];

    internal override IEnumerable<TensorChoice> Tensors(HybridDesign design) =>
        TensorRules.EmbeddingNormHead(design, Root + "embed_tokens.weight", Root + "norm.weight").Concat(Layers(design, Root));

    IEnumerable<TensorChoice> Layers(HybridDesign design, string root)
    {
        for (int i = 0; i < design.Depth; i++)
        {
            string file = $"{root}layers.{i}.", model = Block(i);
            var mixer = design.Blocks[i].Mixer is AttentionSpec attention ? Attention(file + "self_attn.", model + "mixer.", attention)
                : Delta(file + "linear_attn.", model + "mixer.", (GatedDeltaSpec)design.Blocks[i].Mixer!);
            var feedForward = design.Blocks[i].FeedForward is MixtureOfExpertsSpec experts
                ? Qwen3NextFamily.Experts(file + "mlp.", model + "feed_forward.", experts, together: IsMultimodal)
                : TensorRules.SwiGlu(file + "mlp.", model + "feed_forward.", (SwiGluSpec)design.Blocks[i].FeedForward);
            TensorChoice[] norms =
            [
                TensorRules.Rename(file + "input_layernorm.weight", model + "mixer_norm.weight"),
                TensorRules.Rename(file + "post_attention_layernorm.weight", model + "feed_forward_norm.weight"),
            ];
            foreach (var rule in norms.Concat(mixer).Concat(feedForward)) yield return rule;
        }
    }

    static IEnumerable<TensorChoice> Attention(string file, string model, AttentionSpec spec) =>
        TensorRules.Attention(file, model, spec).Concat(TensorRules.QkNorm(file, model, spec));

    static IEnumerable<TensorChoice> Delta(string file, string model, GatedDeltaSpec spec) =>
    [
        .. TensorRules.DeltaProjections(model, spec, (file + "in_proj_qkv.weight", "qkv"), (file + "in_proj_z.weight", "z"),
            (file + "in_proj_b.weight", "b"), (file + "in_proj_a.weight", "a")),
        .. TensorRules.ConvolutionFilter(file + "conv1d", model, spec.ConvolutionBias), TensorRules.Rename(file + "dt_bias", model + "dt_bias"),
        TensorRules.Rename(file + "A_log", model + "A_log"), TensorRules.Rename(file + "norm.weight", model + "norm_weight"),
        TensorRules.Rename(file + "out_proj.weight", model + "output.weight"),
    ];

    internal override IReadOnlyList<(string Prefix, string Part)> NotLoaded => [PredictionHeads, ("model.visual.", "the vision model")];
}
