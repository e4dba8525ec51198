using System.Text.Json.Nodes;
using HybridArchitectures.Design;

namespace HybridArchitectures.Checkpoints;

/// <summary>
/// Implements Granite 4: Mamba-2 and attention layers, a shared SwiGLU and, in some sizes, experts; multipliers on embedding, residual stream,
/// attention and logits.
/// </summary>
sealed class GraniteFamily() : PretrainedFamily("granitemoehybrid", "GraniteMoeHybridForCausalLM", skipsPadding: true)
{
    private protected override HybridDesign Read(PretrainedConfig config)
    {
        int width = config.Int("hidden_size"), depth = config.Depth("num_hidden_layers"), heads = config.Int("num_attention_heads", 32);
        double epsilon = config.Double("rms_norm_eps", 1e-6);
        bool bias = config.Flag("attention_bias", false);
        bool[] attends = AttentionLayers(config, depth);
        var attention = new AttentionSpec
        {
            Heads = heads, KeyValueHeads = config.Int("num_key_value_heads", heads), HeadSize = config.HeadSize(width, heads),
            Scale = config.Double("attention_multiplier", 1), Rotary = HasPositions(config) ? config.Rotary() : null,
            InputBias = bias, OutputBias = bias,
        };
        // attention-only checkpoints contain state-space sizes that no layer uses
        var mamba = attends.All(attend => attend) ? null : BambaFamily.ReadMamba2(config, width);
        config.Only("normalization_function", "rmsnorm");
        config.NoWindow();
        var feedForward = FeedForward(config);
        return new HybridDesign
        {
            Name = ModelType, VocabularySize = config.Int("vocab_size"), Width = width, TiedHead = config.Flag("tie_word_embeddings", false),
            NormEpsilon = epsilon,
            EmbeddingScale = config.Double("embedding_multiplier", 1), LogitScale = 1 / config.Double("logits_scaling", 1),
            Blocks = Blocks(depth, i => new()
            {
                Mixer = attends[i] ? attention : mamba, FeedForward = feedForward, NormEpsilon = epsilon,
                ResidualScale = config.Double("residual_multiplier", 1),
            }),
        };
    }

    // returns for each layer whether it is attention
    static bool[] AttentionLayers(PretrainedConfig config, int depth)
    {
        var words = config.Texts(config.Spelling("layer_types", "layers_block_type"));
        if (words is null) return new bool[depth];
        if (words.Count != depth) throw config.Refusal("layer_types", $"{words.Count} words", $"{depth}, as num_hidden_layers says");
        return [.. words.Select(word => HuggingFaceNames.IsAttention(word)
            ?? throw config.Refusal("layer_types", word, "mamba, linear_attention, attention or full_attention"))];
    }

    static FeedForwardSpec FeedForward(PretrainedConfig config)
    {
        int experts = config.Int("num_local_experts", 8), shared = config.Int("shared_intermediate_size", 1024);
        var activation = config.Activation("hidden_act", "silu");
        if (experts == 0) return new SwiGluSpec(shared) { Activation = activation };
        return new MixtureOfExpertsSpec
        {
            Experts = experts, ExpertsPerToken = config.Int("num_experts_per_tok", 2), ExpertWidth = config.Int("intermediate_size"),
            SharedExperts = shared > 0 ? 1 : 0, SharedWidth = shared, Activation = activation,
            Score = RouterScore.Softmax, Renormalize = true,        // a softmax over the selected experts only
            Balance = config.Flag("output_router_logits", false) ? ExpertBalance.JointAuxiliaryLoss : ExpertBalance.None,
            BalanceRate = config.Double("router_aux_loss_coef", 0.001),
        };
    }

    static bool HasPositions(PretrainedConfig config) => config.Text("position_embedding_type") switch
    {
        null or "nope" => false,
        "rope" => true,
        var other => throw config.Refusal("position_embedding_type", $"\"{other}\"", "rope or nope"),
    };

    // sizes of layers that the model may not have, and settings of positions if it has none
    private protected override IReadOnlyCollection<string> Unused =>
    [
        .. PretrainedConfig.RotaryKeys, "init_method", "num_experts_per_tok", "intermediate_size", "time_step_min", "time_step_limit",
        "mamba_expand", "mamba_n_heads", "mamba_d_head", "mamba_d_state", "mamba_n_groups", "mamba_d_conv", "mamba_conv_bias", "mamba_proj_bias",
        "mamba_chunk_size",
    ];

    private protected override void Write(HybridDesign design, JsonObject config)
    {
        var attention = FirstOrNone<AttentionSpec>(design);
        var experts = FirstFeedForward<MixtureOfExpertsSpec>(design);
        config["num_hidden_layers"] = design.Depth;
        config["rms_norm_eps"] = design.NormEpsilon;
        config["embedding_multiplier"] = design.EmbeddingScale;
        config["logits_scaling"] = 1 / design.LogitScale;
        config["residual_multiplier"] = design.Blocks[0].ResidualScale;
        WriteAttention(config, FirstOr(design, new AttentionSpec { Heads = 1 }));
        if (attention is not null) config["attention_multiplier"] = attention.Scale ?? 1 / Math.Sqrt(attention.HeadSize);
        config["position_embedding_type"] = attention?.Rotary is null ? "nope" : "rope";
        WriteRotary(config, attention?.Rotary);
        BambaFamily.WriteMamba2(config, FirstOr(design, new Mamba2Spec { Heads = 1, HeadSize = design.Width, StateSize = 1 }), design.Width);
        config["layer_types"] = new JsonArray(
            [.. design.Blocks.Select(block => JsonValue.Create(block.Mixer is AttentionSpec ? "attention" : "mamba"))]);
        config["num_local_experts"] = experts?.Experts ?? 0;
        config["num_experts_per_tok"] = experts?.ExpertsPerToken ?? 0;
        config["shared_intermediate_size"] = experts?.SharedWidth ?? FirstFeedForward<SwiGluSpec>(design)?.Width
            ?? throw Unfit("no feed-forward", "one in every block");
        config["intermediate_size"] = experts?.ExpertWidth ?? FirstFeedForward<SwiGluSpec>(design)!.Width;
        config["router_aux_loss_coef"] = experts?.BalanceRate ?? 0.001;
        config["output_router_logits"] = experts?.Balance == ExpertBalance.JointAuxiliaryLoss;
        config["hidden_act"] = HuggingFaceNames.FromActivation(experts?.Activation ?? FirstFeedForward<SwiGluSpec>(design)!.Activation);
    }

    internal override IEnumerable<TensorChoice> Tensors(HybridDesign design)
    {
        foreach (var rule in TensorRules.EmbeddingNormHead(design, "model.embed_tokens.weight", "model.norm.weight")) yield return rule;
        for (int i = 0; i < design.Depth; i++)
        {
            string file = $"model.layers.{i}.", model = Block(i), inner = model + "feed_forward.";
            yield return TensorRules.Rename(file + "input_layernorm.weight", model + "mixer_norm.weight");
            yield return TensorRules.Rename(file + "post_attention_layernorm.weight", model + "feed_forward_norm.weight");
            var mixer = design.Blocks[i].Mixer is AttentionSpec attention
                ? TensorRules.Attention(file + "self_attn.", model + "mixer.", attention)
                : TensorRules.Mamba2(file + "mamba.", model + "mixer.", (Mamba2Spec)design.Blocks[i].Mixer!);
            foreach (var rule in mixer) yield return rule;
            bool hasShared = true;
            string shared = inner;
            if (design.Blocks[i].FeedForward is MixtureOfExpertsSpec experts)
            {
                yield return TensorRules.Rename(file + "block_sparse_moe.router.layer.weight", inner + "router.weight");
                yield return new TensorRule(file + "block_sparse_moe.input_linear.weight", [new(inner + "gate"), new(inner + "up")], Dimension: 1);
                yield return TensorRules.Rename(file + "block_sparse_moe.output_linear.weight", inner + "down");
                (hasShared, shared) = (experts.SharedWidth > 0, inner + "shared.");
            }
            if (!hasShared) continue;
            yield return new TensorRule(file + "shared_mlp.input_linear.weight", [new(shared + "gate.weight"), new(shared + "up.weight")]);
            yield return TensorRules.Rename(file + "shared_mlp.output_linear.weight", shared + "down.weight");
        }
    }
}
