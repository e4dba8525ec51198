using System.Text.Json.Nodes;
using HybridArchitectures.Design;

namespace HybridArchitectures.Checkpoints;

/// <summary>
/// Implements Qwen3-Next: gated delta nets and periodic layers of gated attention, experts and a gated shared expert, and zero-centered norms.
/// </summary>
sealed class Qwen3NextFamily() : PretrainedFamily("qwen3_next", "Qwen3NextForCausalLM", skipsPadding: true)
{
    private protected override HybridDesign Read(PretrainedConfig config)
    {
        int width = config.Int("hidden_size"), depth = config.Depth("num_hidden_layers"), heads = config.Int("num_attention_heads", 16),
            experts = config.Int("num_experts", 512);
        int step = config.Int("decoder_sparse_step", 1);
        if (step < 1) throw config.Refusal("decoder_sparse_step", step, "at least 1");
        var activation = config.Activation("hidden_act", "silu");
        double epsilon = config.Double("rms_norm_eps", 1e-6);
        bool bias = config.Flag("attention_bias", false);
        config.Only("attn_output_gate", true);
        config.NoWindow();
        var attention = new AttentionSpec
        {
            Heads = heads, KeyValueHeads = config.Int("num_key_value_heads", 2), HeadSize = config.Int("head_dim", 256), QkNorm = true,
            OutputGate = true, InputBias = bias, OutputBias = bias,
            Rotary = config.Rotary(fraction: config.Double("partial_rotary_factor", 0.25)),
        };
        var delta = Delta(config, activation);
        var dense = new SwiGluSpec(config.Int("intermediate_size", 5632)) { Activation = activation };
        FeedForwardSpec mixture = experts < 1 ? dense : Experts(config, activation, 512, 10);
        var attends = Attends(config, depth);
        var plain = config.Numbers("mlp_only_layers") ?? [];
        return new HybridDesign
        {
            Name = ModelType, VocabularySize = config.Int("vocab_size"), Width = width, TiedHead = config.Flag("tie_word_embeddings", false),
            NormEpsilon = epsilon, ZeroCenteredNorms = true,
            Blocks = Blocks(depth, i => new()
            {
                Mixer = attends[i] ? attention : delta, FeedForward = (i + 1) % step == 0 && !plain.Contains(i) ? mixture : dense,
                NormEpsilon = epsilon,
            }),
        };
    }

    /// <summary>Reads the gated delta net.</summary>
    internal static GatedDeltaSpec Delta(PretrainedConfig config, Activation activation) => new()
    {
        KeyHeads = config.Int("linear_num_key_heads", 16),
        ValueHeads = config.Int("linear_num_value_heads", 32),
        KeyHeadSize = config.Int("linear_key_head_dim", 128),
        ValueHeadSize = config.Int("linear_value_head_dim", 128),
        ConvolutionWidth = config.Int("linear_conv_kernel_dim", 4),
        Activation = activation,
    };

    /// <summary>Reads the experts and the gated shared expert.</summary>
    internal static MixtureOfExpertsSpec Experts(PretrainedConfig config, Activation activation, int experts, int perToken) => new()
    {
        Experts = config.Int("num_experts", experts),
        ExpertsPerToken = config.Int("num_experts_per_tok", perToken),
        ExpertWidth = config.Int("moe_intermediate_size", 512),
        SharedExperts = 1,
        SharedWidth = config.Int("shared_expert_intermediate_size", 512),
        SharedGate = true,
        Activation = activation,
        Score = RouterScore.Softmax,
        Renormalize = config.Flag("norm_topk_prob", true),
        Balance = config.Flag("output_router_logits", false) ? ExpertBalance.JointAuxiliaryLoss : ExpertBalance.None,
        BalanceRate = config.Double("router_aux_loss_coef", 0.001),
    };

    /// <summary>Returns which layers are attention: those of <c>layer_types</c>, or the last of every <c>full_attention_interval</c>.</summary>
    internal static bool[] Attends(PretrainedConfig config, int depth)
    {
        if (config.Texts("layer_types") is { } words)
        {
            if (words.Count != depth) throw config.Refusal("layer_types", $"{words.Count} words", $"{depth}, as num_hidden_layers says");
            return [.. words.Select(word => HuggingFaceNames.IsAttention(word)
                ?? throw config.Refusal("layer_types", word, "linear_attention or full_attention"))];
        }
        int interval = config.Int("full_attention_interval", 4);
        if (interval < 1) throw config.Refusal("full_attention_interval", interval, "at least 1");
        return [.. Enumerable.Range(0, depth).Select(i => (i + 1) % interval == 0)];
    }

    // some sizes have an effect only with experts or without a list of layers; heads of multi-token prediction are not loaded
    private protected override IReadOnlyCollection<string> Unused =>
    [
        "full_attention_interval", "num_experts_per_tok", "moe_intermediate_size", "shared_expert_intermediate_size", "norm_topk_prob",
        "max_window_layers", "num_nextn_predict_layers", "mtp_num_hidden_layers",
    ];

    private protected override void Write(HybridDesign design, JsonObject config)
    {
        var experts = FirstFeedForward<MixtureOfExpertsSpec>(design);
        config["num_hidden_layers"] = design.Depth;
        config["rms_norm_eps"] = design.NormEpsilon;
        WriteMixers(design, config);
        config["intermediate_size"] =
            FirstFeedForward<SwiGluSpec>(design)?.Width ?? experts?.ExpertWidth ?? throw Unfit("no feed-forward", "one in every block");
        config["decoder_sparse_step"] = 1;
        config["mlp_only_layers"] = new JsonArray(
            [.. Enumerable.Range(0, design.Depth).Where(i => design.Blocks[i].FeedForward is SwiGluSpec).Select(i => JsonValue.Create(i))]);
        config["num_experts"] = 0;
        if (experts is not null) WriteExperts(experts, config);
    }

    /// <summary>Writes the layer types, the attention and the gated delta net.</summary>
    internal static void WriteMixers(HybridDesign design, JsonObject config)
    {
        var delta = FirstOr(design, new GatedDeltaSpec { KeyHeads = 1, KeyHeadSize = 1, Activation = FirstActivation(design) });
        var attention = FirstOrNone<AttentionSpec>(design);
        config["layer_types"] = new JsonArray(
            [.. design.Blocks.Select(block => JsonValue.Create(block.Mixer is AttentionSpec ? "full_attention" : "linear_attention"))]);
        if (attention is not null) WriteAttention(config, attention);
        WriteRotary(config, attention?.Rotary, withFraction: true);
        config["linear_num_key_heads"] = delta.KeyHeads;
        config["linear_num_value_heads"] = delta.ValueHeads;
        config["linear_key_head_dim"] = delta.KeyHeadSize;
        config["linear_value_head_dim"] = delta.ValueHeadSize;
        config["linear_conv_kernel_dim"] = delta.ConvolutionWidth;
        config["hidden_act"] = HuggingFaceNames.FromActivation(delta.Activation);
    }

    // all layers share one nonlinearity
    static Activation FirstActivation(HybridDesign design) =>
        FirstFeedForward<SwiGluSpec>(design)?.Activation ?? FirstFeedForward<MixtureOfExpertsSpec>(design)?.Activation ?? Activation.Silu;

    /// <summary>Writes the experts.</summary>
    internal static void WriteExperts(MixtureOfExpertsSpec experts, JsonObject config)
    {
        config["num_experts"] = experts.Experts;
        config["num_experts_per_tok"] = experts.ExpertsPerToken;
        config["moe_intermediate_size"] = experts.ExpertWidth;
        config["shared_expert_intermediate_size"] = experts.SharedWidth;
        config["norm_topk_prob"] = experts.Renormalize;
        config["router_aux_loss_coef"] = experts.BalanceRate;
        config["output_router_logits"] = experts.Balance == ExpertBalance.JointAuxiliaryLoss;
    }

    internal override IEnumerable<TensorChoice> Tensors(HybridDesign design)
    {
        foreach (var rule in TensorRules.EmbeddingNormHead(design, "model.embed_tokens.weight", "model.norm.weight")) yield return rule;
        for (int i = 0; i < design.Depth; i++)
        {
            string file = $"model.layers.{i}.", model = Block(i);
            yield return TensorRules.Rename(file + "input_layernorm.weight", model + "mixer_norm.weight");
            yield return TensorRules.Rename(file + "post_attention_layernorm.weight", model + "feed_forward_norm.weight");
            var mixer = design.Blocks[i].Mixer is AttentionSpec attention ? Attention(file + "self_attn.", model + "mixer.", attention)
                : Delta(file + "linear_attn.", model + "mixer.", (GatedDeltaSpec)design.Blocks[i].Mixer!);
            var feedForward = design.Blocks[i].FeedForward is MixtureOfExpertsSpec experts ? Experts(file + "mlp.", model + "feed_forward.", experts)
                : TensorRules.SwiGlu(file + "mlp.", model + "feed_forward.", (SwiGluSpec)design.Blocks[i].FeedForward);
            foreach (var rule in mixer.Concat(feedForward)) yield return rule;
        }
    }

    static IEnumerable<TensorChoice> Attention(string file, string model, AttentionSpec spec) =>
        TensorRules.Attention(file, model, spec).Concat(TensorRules.QkNorm(file, model, spec));

    static IEnumerable<TensorChoice> Delta(string file, string model, GatedDeltaSpec spec) =>
    [
        TensorRules.Rename(file + "in_proj_qkvz.weight", model + "input.weight"),
        TensorRules.Rename(file + "in_proj_ba.weight", model + "rates.weight"),
        .. TensorRules.ConvolutionFilter(file + "conv1d", model, spec.ConvolutionBias), TensorRules.Rename(file + "dt_bias", model + "dt_bias"),
        TensorRules.Rename(file + "A_log", model + "A_log"),
        TensorRules.Rename(file + "norm.weight", model + "norm_weight"), TensorRules.Rename(file + "out_proj.weight", model + "output.weight"),
    ];

    /// <summary>Returns the rules of the experts and the gated shared expert.</summary>
    internal static IEnumerable<TensorChoice> Experts(string file, string model, MixtureOfExpertsSpec spec, bool together = false) =>
    [
        TensorRules.Rename(file + "gate.weight", model + "router.weight"),
        TensorRules.Experts(file + "experts.", model, spec, together: together),
        .. TensorRules.SwiGlu(file + "shared_expert.", model + "shared.", new SwiGluSpec(spec.SharedWidth)),
        TensorRules.Rename(file + "shared_expert_gate.weight", model + "shared_gate.weight"),
    ];

    internal override IReadOnlyList<(string Prefix, string Part)> NotLoaded => [PredictionHeads];
}
