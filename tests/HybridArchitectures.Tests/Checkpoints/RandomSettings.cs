using System.Text.Json.Nodes;

namespace HybridArchitectures.Tests.Checkpoints;

/// <summary>Draws small configurations of families, in the words of their published files: other sizes, patterns and options each time.</summary>
sealed class RandomSettings(int seed)
{
    readonly Random random = new(seed);

    static readonly Dictionary<string, Action<RandomSettings, JsonObject>> families = new()
    {
        ["qwen3_5_text"] = (draw, config) => draw.Qwen35(config),
        ["qwen3_5_moe_text"] = (draw, config) => draw.Qwen35Experts(config),
        ["qwen3_5"] = (draw, config) => Nest(config, "qwen3_5_text", draw.Qwen35),
        ["qwen3_5_moe"] = (draw, config) => Nest(config, "qwen3_5_moe_text", draw.Qwen35Experts),
        ["olmo_hybrid"] = (draw, config) => draw.OlmoHybrid(config),
        ["lfm2_moe"] = (draw, config) => draw.Lfm2Experts(config),
        ["kimi_linear"] = (draw, config) => draw.KimiLinear(config),
        ["minimax"] = (draw, config) => draw.MiniMax(config),
        ["recurrent_gemma"] = (draw, config) => draw.RecurrentGemma(config),
        ["gated_deltanet"] = (draw, config) => draw.GatedDeltaNet(config),
        ["delta_net"] = (draw, config) => draw.DeltaNet(config),
        ["gla"] = (draw, config) => draw.GatedLinearAttention(config),
        ["hgrn2"] = (draw, config) => draw.Hgrn2(config),
        ["rwkv7"] = (draw, config) => draw.Rwkv7(config),
        ["mamba3"] = (draw, config) => draw.Mamba3(config),
        ["qwen3_next"] = (draw, config) => draw.Qwen3Next(config),
        ["lfm2"] = (draw, config) => draw.Lfm2(config),
        ["bamba"] = (draw, config) => draw.Bamba(config),
        ["jamba"] = (draw, config) => draw.Jamba(config),
        ["granitemoehybrid"] = (draw, config) => draw.Granite(config),
        ["nemotron_h"] = (draw, config) => draw.NemotronH(config),
        ["qwen3"] = (draw, config) => draw.Transformer(config, "rms_norm_eps", heads: true),
        ["mistral"] = (draw, config) => draw.Mistral(config),
        ["olmo3"] = (draw, config) => draw.Olmo3(config),
        ["llama"] = (draw, config) => draw.Llama(config),
    };

    public static IEnumerable<string> Families => families.Keys;

    public static JsonObject Draw(string family, int seed)
    {
        var config = new JsonObject();
        families[family](new(seed), config);
        config["model_type"] = family;
        return config;
    }

    static void Nest(JsonObject config, string textType, Action<JsonObject> draw)
    {
        var text = new JsonObject { ["model_type"] = textType };
        draw(text);
        (config["text_config"], config["vision_config"]) = (text, new JsonObject { ["depth"] = 2 });
    }

    int Pick(params int[] values) => values[random.Next(values.Length)];

    double Pick(params double[] values) => values[random.Next(values.Length)];

    bool Coin() => random.Next(2) == 0;

    int Divisor(int number) => Pick([.. Enumerable.Range(1, number).Where(one => number % one == 0)]);

    int Depth => random.Next(1, 6);

    JsonArray Words(int depth, params string[] words) => [.. Enumerable.Range(0, depth).Select(_ => (JsonNode)words[random.Next(words.Length)])];

    // vocabulary, width, depth, epsilon, head
    int Start(JsonObject config, string epsilon, int width)
    {
        int depth = Depth;
        (config["vocab_size"], config["hidden_size"], config["num_hidden_layers"]) = (random.Next(40, 90), width, depth);
        (config[epsilon], config["tie_word_embeddings"]) = (Pick(1e-5, 1e-6, 1e-3), Coin());
        return depth;
    }

    int Heads(JsonObject config)
    {
        int heads = Pick(1, 2, 3, 4, 6);
        (config["num_attention_heads"], config["num_key_value_heads"]) = (heads, Divisor(heads));
        return heads;
    }

    void Experts(JsonObject config, string count, string each, string width)
    {
        int experts = random.Next(2, 9);
        (config[count], config[each], config[width]) = (experts, random.Next(1, experts + 1), Pick(5, 8, 11));
    }

    void Delta(JsonObject config)
    {
        int keyHeads = Pick(1, 2, 3);
        (config["linear_num_key_heads"], config["linear_num_value_heads"]) = (keyHeads, keyHeads * Pick(1, 2, 3));
        (config["linear_key_head_dim"], config["linear_value_head_dim"]) = (Pick(4, 6, 7), Pick(3, 6, 8));
        config["linear_conv_kernel_dim"] = Pick(2, 3, 4);
    }

    void Qwen35(JsonObject config)
    {
        Qwen35Mixers(config);
        config["intermediate_size"] = Pick(9, 16, 30);
    }

    void Qwen35Experts(JsonObject config)
    {
        Qwen35Mixers(config);
        Experts(config, "num_experts", "num_experts_per_tok", "moe_intermediate_size");
        config["shared_expert_intermediate_size"] = Pick(6, 13);
    }

    void Qwen35Mixers(JsonObject config)
    {
        int depth = Start(config, "rms_norm_eps", Pick(12, 20, 32));
        Heads(config);
        Delta(config);
        (config["head_dim"], config["attention_bias"]) = (Pick(4, 8, 10, 12), Coin());
        config["rope_parameters"] = new JsonObject { ["rope_theta"] = Pick(1e4, 1e7), ["partial_rotary_factor"] = Pick(0.25, 0.5, 1.0),
            ["rope_type"] = "default" };
        if (Coin()) config["full_attention_interval"] = Pick(2, 3, 4);
        else config["layer_types"] = Words(depth, "linear_attention", "full_attention");
    }

    void OlmoHybrid(JsonObject config)
    {
        int heads = Heads(config), depth = Start(config, "rms_norm_eps", heads * 2 * Pick(2, 3, 5));
        Delta(config);
        (config["intermediate_size"], config["attention_bias"], config["linear_allow_neg_eigval"]) = (Pick(9, 16, 30), Coin(), Coin());
        // transformers requires both kinds of layers
        config["num_hidden_layers"] = depth + 2;
        config["layer_types"] = new JsonArray(["linear_attention", "full_attention", .. Words(depth, "linear_attention", "full_attention").Select(
            word => (JsonNode)word!.GetValue<string>())]);
        config["rope_parameters"] = new JsonObject { ["rope_theta"] = Coin() ? null : 1e4, ["rope_type"] = "default" };
    }

    void Lfm2Experts(JsonObject config)
    {
        int heads = Heads(config), depth = Start(config, "norm_eps", heads * 2 * Pick(2, 3, 5));
        Experts(config, "num_experts", "num_experts_per_tok", "moe_intermediate_size");
        (config["intermediate_size"], config["num_dense_layers"]) = (Pick(9, 16, 30), random.Next(0, depth + 1));
        (config["conv_L_cache"], config["conv_bias"], config["use_expert_bias"]) = (Pick(2, 3, 4), Coin(), Coin());
        (config["norm_topk_prob"], config["routed_scaling_factor"], config["rope_theta"]) = (Coin(), Pick(1.0, 1.7), 1e4);
        config["layer_types"] = Words(depth, "conv", "full_attention");
    }

    void KimiLinear(JsonObject config)
    {
        int depth = Start(config, "rms_norm_eps", Pick(12, 20, 25)), heads = Pick(1, 2, 3), groups = Pick(1, 2, 3), each = Pick(2, 3);
        config["tie_word_embeddings"] = false;
        var attends = Enumerable.Range(1, depth).Where(_ => Coin()).ToArray();
        config["linear_attn_config"] = new JsonObject
        {
            ["full_attn_layers"] = new JsonArray([.. attends.Select(layer => (JsonNode)layer)]),
            ["kda_layers"] = new JsonArray([.. Enumerable.Range(1, depth).Except(attends).Select(layer => (JsonNode)layer)]),
            ["num_heads"] = Pick(1, 2, 3), ["head_dim"] = Pick(4, 5, 8), ["short_conv_kernel_size"] = Pick(2, 4),
        };
        (config["num_attention_heads"], config["num_key_value_heads"], config["q_lora_rank"]) = (heads, heads, Coin() ? null : Pick(5, 9));
        (config["qk_nope_head_dim"], config["qk_rope_head_dim"], config["v_head_dim"]) = (Pick(4, 6), Pick(2, 4), Pick(5, 6));
        (config["kv_lora_rank"], config["intermediate_size"], config["moe_intermediate_size"]) = (Pick(6, 9), Pick(16, 30), Pick(5, 8));
        int kept = random.Next(1, groups + 1);
        (config["num_experts"], config["num_expert_group"], config["topk_group"]) = (groups * each, groups, kept);
        (config["num_experts_per_token"], config["num_shared_experts"]) = (random.Next(1, kept * each + 1), Pick(1, 2));
        (config["moe_renormalize"], config["routed_scaling_factor"]) = (Coin(), Pick(1.0, 2.446));
        (config["first_k_dense_replace"], config["moe_layer_freq"], config["mla_use_nope"]) = (random.Next(0, depth + 1), 1, true);
    }

    void MiniMax(JsonObject config)
    {
        int depth = Start(config, "rms_norm_eps", Pick(12, 20, 32)), heads = Heads(config);
        Experts(config, "num_local_experts", "num_experts_per_tok", "intermediate_size");
        (config["head_dim"], config["block_size"], config["rope_theta"]) = (Pick(4, 6, 8), Pick(8, 16, 256), 1e4);
        if (Coin()) config["rotary_dim"] = 2;
        foreach (string kind in (string[])["full_attn", "linear_attn", "mlp"])
            (config[$"{kind}_alpha_factor"], config[$"{kind}_beta_factor"]) = (Pick(1.0, 3.5), Pick(1.0, 0.7));
        config["layer_types"] = Words(depth, "linear_attention", "full_attention");
    }

    void RecurrentGemma(JsonObject config)
    {
        int heads = Heads(config);
        Start(config, "rms_norm_eps", heads * 2 * Pick(2, 3, 4));
        (config["intermediate_size"], config["lru_width"], config["conv1d_width"]) = (2 * Pick(9, 16), heads * Pick(3, 8), Pick(2, 4));
        (config["attention_window_size"], config["attention_bias"]) = (Pick(2, 5, 64), Coin());
        (config["logits_soft_cap"], config["partial_rotary_factor"]) = (Pick(7.0, 30.0), 0.5);
        config["block_types"] = Words(random.Next(1, 4), "recurrent", "attention");
    }

    // softmax attention in some layers of a model of flash-linear-attention
    void Attention(JsonObject config, int depth, int width)
    {
        int[] layers = [.. Enumerable.Range(0, depth).Where(_ => random.Next(3) == 0)];
        if (layers.Length == 0) return;
        int heads = Pick([.. Enumerable.Range(1, width / 2).Where(count => width % (2 * count) == 0)]);
        var attention = new JsonObject
        {
            ["layers"] = new JsonArray([.. layers.Select(layer => (JsonNode)layer)]), ["num_heads"] = heads, ["num_kv_heads"] = Divisor(heads),
            ["qkv_bias"] = Coin(), ["rope_theta"] = Pick(700.0, 1e4),
        };
        if (Coin()) attention["window_size"] = Pick(2, 9);
        config["attn"] = attention;
    }

    void GatedDeltaNet(JsonObject config)
    {
        int width = Pick(12, 20, 24), depth = Start(config, "norm_eps", width), heads = Pick(1, 2, 3);
        (config["num_heads"], config["num_v_heads"], config["head_dim"]) = (heads, heads * Pick(1, 2), Pick(4, 6));
        (config["expand_v"], config["conv_size"], config["intermediate_size"]) = (Pick(1.0, 1.5, 2.0), Pick(2, 4), Pick(9, 20));
        (config["use_gate"], config["allow_neg_eigval"]) = (Coin(), Coin());
        Attention(config, depth, width);
    }

    void DeltaNet(JsonObject config)
    {
        int heads = Pick(1, 2, 3), width = 4 * heads * Pick(2, 3), depth = Start(config, "norm_eps", width);
        (config["num_heads"], config["expand_k"], config["expand_v"]) = (heads, Pick(0.5, 0.75, 1.0), Pick(0.5, 1.0, 1.25));
        (config["conv_size"], config["use_gate"], config["allow_neg_eigval"]) = (Pick(2, 4), Coin(), Coin());
        config["intermediate_size"] = Pick(9, 20);
        Attention(config, depth, width);
    }

    void GatedLinearAttention(JsonObject config)
    {
        int heads = Pick(1, 2, 3), width = 4 * heads * Pick(2, 3), depth = Start(config, "norm_eps", width);
        (config["num_heads"], config["expand_k"], config["expand_v"]) = (heads, Pick(0.5, 0.75, 1.0), Pick(0.5, 1.0, 1.5));
        (config["gate_low_rank_dim"], config["gate_logit_normalizer"], config["intermediate_size"]) = (Pick(3, 16), Pick(8, 16), Pick(9, 20));
        Attention(config, depth, width);
    }

    void Hgrn2(JsonObject config)
    {
        int heads = Pick(1, 2, 3), size = Pick(4, 6, 8), width = heads * size, depth = Start(config, "norm_eps", width);
        bool sized = Coin();
        (config["expand_ratio"], config["use_lower_bound"], config["intermediate_size"]) = (sized ? size : null, Coin(), Pick(9, 20));
        if (!sized) config["num_heads"] = heads;
        Attention(config, depth, width);
    }

    void Rwkv7(JsonObject config)
    {
        int heads = Pick(1, 2, 3), size = Pick(4, 6, 8), width = heads * size;
        Start(config, "norm_eps", width);
        bool sized = Coin();
        (config["head_dim"], config["num_heads"]) = (sized ? size : null, sized ? null : heads);
        (config["decay_low_rank_dim"], config["a_low_rank_dim"], config["v_low_rank_dim"]) = (Pick(3, 5), Pick(2, 6), Coin() ? null : 4);
        (config["gate_low_rank_dim"], config["intermediate_size"]) = (Pick(3, 7), Coin() ? null : Pick(9, 20));
        (config["norm_first"], config["fuse_norm"], config["hidden_act"]) = (Coin(), Coin(), Coin() ? "sqrelu" : "gelu");
        config["value_dim"] = Coin() ? null : width;
    }

    void Mamba3(JsonObject config)
    {
        int size = Pick(4, 8), width = size * Pick(2, 3);
        Start(config, "norm_eps", width);
        int heads = 2 * width / size;
        (config["expand"], config["head_dim"], config["n_groups"], config["state_size"]) = (2, size, Divisor(heads), Pick(4, 6, 10));
        (config["rope_fraction"], config["use_bias"], config["chunk_size"]) = (Pick(0.5, 1.0), Coin(), 16);
    }

    void Qwen3Next(JsonObject config)
    {
        int depth = Start(config, "rms_norm_eps", Pick(12, 20, 32));
        Heads(config);
        Delta(config);
        Experts(config, "num_experts", "num_experts_per_tok", "moe_intermediate_size");
        (config["head_dim"], config["intermediate_size"], config["shared_expert_intermediate_size"]) = (Pick(4, 8, 12), Pick(9, 16), Pick(6, 13));
        (config["partial_rotary_factor"], config["norm_topk_prob"], config["decoder_sparse_step"]) = (Pick(0.25, 0.5, 1.0), Coin(), Pick(1, 2));
        config["layer_types"] = Words(depth, "linear_attention", "full_attention");
    }

    void Lfm2(JsonObject config)
    {
        int heads = Heads(config), depth = Start(config, "norm_eps", heads * 2 * Pick(2, 3, 5));
        (config["intermediate_size"], config["block_auto_adjust_ff_dim"], config["block_multiple_of"]) = (Pick(9, 16, 30), Coin(), Pick(1, 8));
        (config["conv_L_cache"], config["conv_bias"], config["rope_theta"]) = (Pick(2, 3, 4), Coin(), 1e4);
        config["layer_types"] = Words(depth, "conv", "full_attention");
    }

    // heads of Mamba-2 that share the inner width, and their groups
    void Mamba2(JsonObject config, int width, string prefix)
    {
        int heads = Pick(2, 4);
        (config[$"{prefix}expand"], config[$"{prefix}n_heads"], config[$"{prefix}d_head"]) = (2, heads, 2 * width / heads);
        (config[$"{prefix}n_groups"], config[$"{prefix}d_state"], config[$"{prefix}d_conv"]) = (Divisor(heads), Pick(3, 6), Pick(2, 4));
        (config[$"{prefix}conv_bias"], config[$"{prefix}proj_bias"], config[$"{prefix}chunk_size"]) = (Coin(), Coin(), 16);
    }

    void Bamba(JsonObject config)
    {
        int heads = Heads(config), width = heads * 4 * Pick(2, 3), depth = Start(config, "rms_norm_eps", width);
        Mamba2(config, width, "mamba_");
        (config["intermediate_size"], config["partial_rotary_factor"], config["rope_theta"]) = (Pick(9, 16), 0.5, 1e4);
        config["attn_layer_indices"] = new JsonArray([.. Enumerable.Range(0, depth).Where(_ => Coin()).Select(layer => (JsonNode)layer)]);
    }

    void Jamba(JsonObject config)
    {
        int heads = Heads(config), period = Pick(1, 2, 3, 9), experts = Pick(1, 2, 3);
        Start(config, "rms_norm_eps", heads * 2 * Pick(2, 3));
        Experts(config, "num_experts", "num_experts_per_tok", "intermediate_size");
        (config["attn_layer_period"], config["attn_layer_offset"]) = (period, random.Next(period));
        (config["expert_layer_period"], config["expert_layer_offset"]) = (experts, random.Next(experts));
        (config["mamba_d_state"], config["mamba_d_conv"], config["mamba_dt_rank"], config["mamba_expand"]) = (Pick(3, 6), Pick(2, 4), Pick(2, 5), 2);
        (config["mamba_conv_bias"], config["mamba_proj_bias"]) = (Coin(), Coin());
    }

    void Granite(JsonObject config)
    {
        int heads = Heads(config), width = heads * 4 * Pick(2, 3), depth = Start(config, "rms_norm_eps", width);
        Mamba2(config, width, "mamba_");
        if (Coin()) Experts(config, "num_local_experts", "num_experts_per_tok", "intermediate_size");
        else (config["num_local_experts"], config["num_experts_per_tok"], config["intermediate_size"]) = (0, 0, 9);
        (config["shared_intermediate_size"], config["position_embedding_type"]) = (Pick(7, 18), Coin() ? "nope" : "rope");
        (config["attention_multiplier"], config["embedding_multiplier"]) = (Pick(0.31, 1.0), Pick(3.7, 1.0));
        (config["logits_scaling"], config["residual_multiplier"]) = (Pick(1.9, 1.0), Pick(0.7, 1.0));
        config["layer_types"] = Words(depth, "mamba", "attention");
    }

    void NemotronH(JsonObject config)
    {
        int depth = Start(config, "layer_norm_epsilon", Pick(12, 20, 32)), heads = Pick(2, 4), groups = Pick(1, 2, 3);
        int kept = random.Next(1, groups + 1);
        Heads(config);
        config["tie_word_embeddings"] = false;
        config["hybrid_override_pattern"] = new string([.. Enumerable.Range(0, depth).Select(_ => "M*-E"[random.Next(4)])]);
        (config["head_dim"], config["intermediate_size"]) = (Pick(4, 12), Pick(9, 20));
        (config["mamba_num_heads"], config["mamba_head_dim"], config["n_groups"]) = (heads, Pick(4, 6), Divisor(heads));
        (config["ssm_state_size"], config["conv_kernel"], config["use_conv_bias"], config["use_bias"]) = (Pick(3, 6), Pick(2, 4), Coin(), Coin());
        (config["n_routed_experts"], config["n_group"], config["topk_group"]) = (2 * groups, groups, kept);
        (config["num_experts_per_tok"], config["moe_intermediate_size"]) = (random.Next(1, 2 * kept + 1), Pick(5, 8));
        (config["moe_shared_expert_intermediate_size"], config["moe_latent_size"]) = (Pick(6, 24), Coin() ? null : 7);
        (config["norm_topk_prob"], config["routed_scaling_factor"], config["mlp_bias"]) = (Coin(), Pick(1.0, 2.5), Coin());
    }

    int Transformer(JsonObject config, string epsilon, bool heads)
    {
        int count = Heads(config), depth = Start(config, epsilon, count * 2 * Pick(2, 3, 5));
        if (heads) config["head_dim"] = Pick(4, 8, 12);
        (config["intermediate_size"], config["rope_theta"], config["max_position_embeddings"]) = (Pick(9, 16, 30), Pick(1e4, 5e5), 256);
        return depth;
    }

    void Mistral(JsonObject config)
    {
        Transformer(config, "rms_norm_eps", heads: Coin());
        config["sliding_window"] = Coin() ? null : Pick(2, 7, 64);
    }

    void Olmo3(JsonObject config)
    {
        int depth = Transformer(config, "rms_norm_eps", heads: false);
        (config["sliding_window"], config["layer_types"]) = (Pick(3, 8), Words(depth, "sliding_attention", "full_attention"));
        if (Coin()) config["rope_scaling"] = Scaling(Pick(0, 3), 0);
    }

    void Llama(JsonObject config)
    {
        Transformer(config, "rms_norm_eps", heads: true);
        (config["attention_bias"], config["mlp_bias"]) = (Coin(), Coin());
        config["rope_scaling"] = Scaling(random.Next(6), (int)config["head_dim"]! / 2);
    }

    JsonObject? Scaling(int kind, int pairs)
    {
        JsonArray Factors() => [.. Enumerable.Range(0, pairs).Select(_ => (JsonNode)(1 + random.NextDouble() * 5))];
        return kind switch
        {
            1 => new() { ["rope_type"] = "linear", ["factor"] = Pick(2.0, 3.5) },
            2 => new() { ["rope_type"] = "dynamic", ["factor"] = Pick(2.0, 3.5) },
            3 => new() { ["rope_type"] = "yarn", ["factor"] = Pick(4.0, 8.0), ["original_max_position_embeddings"] = Pick(16, 64) },
            4 => new() { ["rope_type"] = "longrope", ["short_factor"] = Factors(), ["long_factor"] = Factors(), ["factor"] = Pick(4.0, 8.0),
                ["original_max_position_embeddings"] = 32 },
            5 => new() { ["rope_type"] = "llama3", ["factor"] = 8.0, ["low_freq_factor"] = 1.0, ["high_freq_factor"] = 4.0,
                ["original_max_position_embeddings"] = Pick(16, 64) },
            _ => null,
        };
    }
}
