using System.Text.Json.Nodes;
using HybridArchitectures.Design;

namespace HybridArchitectures.Checkpoints;

/// <summary>
/// Implements Kimi-Linear (arXiv 2510.26692): Kimi delta attention, periodic layers of latent attention without positions, and experts with a
/// selection bias after some dense layers.
/// </summary>
sealed class KimiLinearFamily() : PretrainedFamily("kimi_linear", "KimiLinearForCausalLM", skipsPadding: true, paddingId: 163839)
{
    const string Linear = "linear_attn_config", Delta = "linear_attention", Latent = "full_attention";

    private protected override HybridDesign Read(PretrainedConfig config)
    {
        int width = config.Int("hidden_size"), depth = config.Depth("num_hidden_layers"), heads = config.Int("num_attention_heads", 32);
        double epsilon = config.Double("rms_norm_eps", 1e-5);
        CheckFixed(config, heads);
        var latent = new LatentAttentionSpec
        {
            Heads = heads, HeadSize = config.Int("qk_nope_head_dim", 128), SharedKeySize = config.Int("qk_rope_head_dim", 64),
            ValueHeadSize = config.Int("v_head_dim", 128), KeyValueRank = config.Int("kv_lora_rank", 512), QueryRank = config.Int("q_lora_rank", 0),
            Bias = config.Flag("attention_bias", false),
        };
        config.Agree("qk_head_dim", latent.KeySize, "qk_nope_head_dim + qk_rope_head_dim says");
        var delta = ReadDelta(config);
        var activation = config.Activation("hidden_act", "silu");
        var dense = new SwiGluSpec(config.Int("dense_ffn_hidden", config.Int("intermediate_size", 9216))) { Activation = activation };
        bool[] attends = Attends(config, depth), sparse = Sparse(config, depth);
        var experts = sparse.Contains(true) ? Experts(config, activation) : null;
        return new HybridDesign
        {
            Name = ModelType, VocabularySize = config.Int("vocab_size"), Width = width, NormEpsilon = epsilon,
            TiedHead = config.Flag("tie_word_embeddings", false),
            Blocks = Blocks(depth, i => new()
            {
                Mixer = attends[i] ? latent : delta, FeedForward = sparse[i] ? experts! : dense, NormEpsilon = epsilon,
            }),
        };
    }

    // settings with one supported value
    static void CheckFixed(PretrainedConfig config, int heads)
    {
        config.Only("mla_use_nope", true);
        config.Only("mla_use_output_gate", false);
        config.Only("moe_router_activation_func", "sigmoid");
        config.Agree("num_key_value_heads", heads, "num_attention_heads says");
        foreach (var (key, only) in new[] { ("moe_layer_freq", 1), ("attn_res_block_size", 0) })
            if (config.Int(key, only) is var stated && stated != only) throw config.Refusal(key, stated, $"{only}");
        if (config.Int("num_expert_group", 1) > 1) config.Only("use_grouped_topk", true);
    }

    static KimiDeltaSpec ReadDelta(PretrainedConfig config)
    {
        var section = config.Section(Linear);
        section?.OnlyKeys(["full_attn_layers", "kda_layers", "head_dim", "num_heads", "short_conv_kernel_size"], $"in {Linear}");
        int Size(string published, string saved, int otherwise)
        {
            if (section?.Has(published) != true) return config.Int(saved, otherwise);
            config.Agree(saved, section.Int(published), $"{Linear} says");
            return section.Int(published);
        }
        int size = Size("head_dim", "linear_head_dim", 128);
        return new()
        {
            Heads = Size("num_heads", "linear_num_heads", 32), HeadSize = size, ValueHeadSize = size, DecayRank = size, GateRank = size,
            ConvolutionWidth = Size("short_conv_kernel_size", "linear_conv_kernel_dim", 4),
        };
    }

    static bool[] Attends(PretrainedConfig config, int depth)
    {
        var section = config.Section(Linear);
        if (config.Has("layer_types") || section is null) return Named(config, "layer_types", depth, Latent, Delta, i => (i + 1) % 4 == 0);
        // layers are counted from 1
        bool[] Listed(string key)
        {
            var listed = new bool[depth];
            foreach (double number in section.Numbers(key) ?? [])
            {
                if (!(number >= 1 && number <= depth && number == Math.Floor(number))) throw section.Refusal(key, number, $"layers 1 to {depth}");
                listed[(int)number - 1] = true;
            }
            return listed;
        }
        bool[] latent = Listed("full_attn_layers"), delta = Listed("kda_layers");
        for (int i = 0; i < depth; i++)
            if (latent[i] == delta[i]) throw section.Refusal("kda_layers", $"without layer {i + 1}", "every layer in one of the two lists");
        return latent;
    }

    static bool[] Sparse(PretrainedConfig config, int depth)
    {
        int dense = config.Int("first_k_dense_replace", 1);
        return Named(config, "mlp_layer_types", depth, "sparse", "dense", i => i >= dense);
    }

    // which layers have the first of two words in a list, or satisfy a rule without the list
    static bool[] Named(PretrainedConfig config, string key, int depth, string yes, string no, Func<int, bool> otherwise)
    {
        if (config.Texts(key) is not { } words) return [.. Enumerable.Range(0, depth).Select(otherwise)];
        if (words.Count != depth) throw config.Refusal(key, $"{words.Count} words", $"{depth}, as num_hidden_layers says");
        return [.. words.Select(word => word == yes || (word == no ? false : throw config.Refusal(key, word, $"{yes} or {no}")))];
    }

    static MixtureOfExpertsSpec Experts(PretrainedConfig config, Activation activation)
    {
        int width = config.Int("moe_intermediate_size", 1024), shared = config.Int(config.Spelling("num_shared_experts", "n_shared_experts"), 1);
        return new()
        {
            Experts = config.Int(config.Spelling("num_experts", "num_local_experts"), 256),
            ExpertsPerToken = config.Int(config.Spelling("num_experts_per_token", "num_experts_per_tok"), 8),
            ExpertWidth = width, SharedExperts = shared, SharedWidth = checked(shared * width), Activation = activation,
            RoutingGroups = config.Int(config.Spelling("num_expert_group", "n_group"), 1), GroupsPerToken = config.Int("topk_group", 1),
            Score = RouterScore.Sigmoid, Renormalize = config.Flag(config.Spelling("moe_renormalize", "norm_topk_prob"), true),
            Scale = config.Double("routed_scaling_factor", 2.446), Balance = ExpertBalance.BiasUpdate,
        };
    }

    // there are no positions; multi-token prediction is not loaded; some sizes have an effect only with experts
    private protected override IReadOnlyCollection<string> Unused =>
    [
        .. PretrainedConfig.RotaryKeys, "head_dim", "num_nextn_predict_layers", "num_mtp_layers", "use_grouped_topk", "activation_situ_beta",
        "activation_situ_linear_beta", "model_max_length", "intermediate_size", "first_k_dense_replace", "num_experts", "num_local_experts",
        "num_experts_per_token", "num_experts_per_tok", "num_shared_experts", "n_shared_experts", "moe_intermediate_size", "num_expert_group",
        "n_group", "topk_group", "moe_renormalize", "norm_topk_prob", "routed_scaling_factor",
    ];

    private protected override void Write(HybridDesign design, JsonObject config)
    {
        if (design.TiedHead) throw Unfit("a tied head", "a separate head, because transformers does not tie heads here");
        bool[] attends = [.. design.Blocks.Select(block => block.Mixer is LatentAttentionSpec)];
        bool[] sparse = [.. design.Blocks.Select(block => block.FeedForward is MixtureOfExpertsSpec)];
        config["num_hidden_layers"] = design.Depth;
        config["rms_norm_eps"] = design.NormEpsilon;
        WriteLatent(FirstOr(design, new LatentAttentionSpec { Heads = 1, HeadSize = 1, KeyValueRank = 1 }), config);
        var delta = FirstOr(design, new KimiDeltaSpec { Heads = 1 });
        config["linear_head_dim"] = delta.HeadSize;
        config["linear_num_heads"] = delta.Heads;
        config["linear_conv_kernel_dim"] = delta.ConvolutionWidth;
        JsonArray Layers(bool latent) =>
            new([.. Enumerable.Range(0, design.Depth).Where(i => attends[i] == latent).Select(i => JsonValue.Create(i + 1))]);
        config[Linear] = new JsonObject
        {
            ["full_attn_layers"] = Layers(true), ["kda_layers"] = Layers(false), ["head_dim"] = delta.HeadSize, ["num_heads"] = delta.Heads,
            ["short_conv_kernel_size"] = delta.ConvolutionWidth,
        };
        config["layer_types"] = new JsonArray([.. attends.Select(latent => JsonValue.Create(latent ? Latent : Delta))]);
        config["mlp_layer_types"] = new JsonArray([.. sparse.Select(experts => JsonValue.Create(experts ? "sparse" : "dense"))]);
        config["first_k_dense_replace"] = sparse.TakeWhile(experts => !experts).Count();
        var (dense, mixture) = (FirstFeedForward<SwiGluSpec>(design), FirstFeedForward<MixtureOfExpertsSpec>(design));
        config["intermediate_size"] = dense?.Width ?? 4 * design.Width;
        config["hidden_act"] = HuggingFaceNames.FromActivation(dense?.Activation ?? mixture?.Activation ?? Activation.Silu);
        if (mixture is not null) WriteExperts(mixture, config);
    }

    static void WriteLatent(LatentAttentionSpec latent, JsonObject config)
    {
        config["num_attention_heads"] = latent.Heads;
        config["num_key_value_heads"] = latent.Heads;
        config["qk_nope_head_dim"] = latent.HeadSize;
        config["qk_rope_head_dim"] = latent.SharedKeySize;
        config["v_head_dim"] = latent.ValueHeadSize;
        config["kv_lora_rank"] = latent.KeyValueRank;
        config["q_lora_rank"] = latent.QueryRank == 0 ? null : latent.QueryRank;
        config["attention_bias"] = latent.Bias;
        config["mla_use_nope"] = true;
    }

    static void WriteExperts(MixtureOfExpertsSpec experts, JsonObject config)
    {
        config["num_experts"] = experts.Experts;
        config["num_experts_per_token"] = experts.ExpertsPerToken;
        config["moe_intermediate_size"] = experts.ExpertWidth;
        config["num_shared_experts"] = experts.SharedWidth / experts.ExpertWidth;
        config["num_expert_group"] = experts.RoutingGroups;
        config["topk_group"] = experts.GroupsPerToken;
        config["use_grouped_topk"] = true;
        config["moe_renormalize"] = experts.Renormalize;
        config["moe_router_activation_func"] = "sigmoid";
        config["moe_layer_freq"] = 1;
        config["routed_scaling_factor"] = experts.Scale;
    }

    internal override IEnumerable<TensorChoice> Tensors(HybridDesign design)
    {
        foreach (var rule in TensorRules.EmbeddingNormHead(design, "model.embed_tokens.weight", "model.norm.weight")) yield return rule;
        for (int i = 0; i < design.Depth; i++)
        {
            string file = $"model.layers.{i}.", model = Block(i), sparse = file + "block_sparse_moe.";
            yield return TensorRules.Rename(file + "input_layernorm.weight", model + "mixer_norm.weight");
            yield return TensorRules.Rename(file + "post_attention_layernorm.weight", model + "feed_forward_norm.weight");
            var mixer = design.Blocks[i].Mixer is LatentAttentionSpec latent ? LatentRules(file + "self_attn.", model + "mixer.", latent)
                : DeltaRules(file + "self_attn.", model + "mixer.", (KimiDeltaSpec)design.Blocks[i].Mixer!);
            var feedForward = design.Blocks[i].FeedForward is MixtureOfExpertsSpec experts ? ExpertRules(sparse, model + "feed_forward.", experts)
                // the published files name them mlp, and transformers saves the other name
                : new[] { "gate", "up", "down" }.Select(part => new TensorChoice(
                    [TensorRules.Rename($"{file}mlp.{part}_proj.weight", $"{model}feed_forward.{part}.weight")],
                    [TensorRules.Rename($"{sparse}{part}_proj.weight", $"{model}feed_forward.{part}.weight")]));
            foreach (var rule in mixer.Concat(feedForward)) yield return rule;
        }
    }

    static IEnumerable<TensorChoice> LatentRules(string file, string model, LatentAttentionSpec spec)
    {
        TensorChoice[] queries = spec.QueryRank == 0 ? [.. TensorRules.Linear(file + "q_proj", model + "query", false)] :
        [
            .. TensorRules.Linear(file + "q_a_proj", model + "query_down", spec.Bias),
            TensorRules.Rename(file + "q_a_layernorm.weight", model + "query_norm.weight"),
            .. TensorRules.Linear(file + "q_b_proj", model + "query_up", false),
        ];
        return
        [
            .. queries, .. TensorRules.Linear(file + "kv_a_proj_with_mqa", model + "latent_down", spec.Bias),
            TensorRules.Rename(file + "kv_a_layernorm.weight", model + "latent_norm.weight"),
            .. TensorRules.Linear(file + "kv_b_proj", model + "latent_up", false),
            .. TensorRules.Linear(file + "o_proj", model + "output", spec.Bias),
        ];
    }

    static IEnumerable<TensorChoice> DeltaRules(string file, string model, KimiDeltaSpec spec)
    {
        foreach (var (name, part) in new[] { ("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value"), ("b_proj", "strength"),
            ("f_a_proj", "decay_down"), ("f_b_proj", "decay_up"), ("g_a_proj", "gate_down"), ("g_b_proj", "gate_up"), ("o_proj", "output") })
            yield return TensorRules.Rename($"{file}{name}.weight", $"{model}{part}.weight");
        yield return new([.. TensorRules.SplitFilters(file, model, spec.KeyWidth, spec.KeyWidth, spec.ValueWidth)]);
        TensorPart logarithm = new(model + "A_log");
        yield return new(
            [new TensorRule(file + "A_log", [logarithm], Stored: [1, 1, spec.Heads, 1])], [new TensorRule(file + "A_log", [logarithm])]);
        yield return TensorRules.Rename(file + "dt_bias", model + "dt_bias");
        yield return TensorRules.Rename(file + "o_norm.weight", model + "norm_weight");
    }

    static IEnumerable<TensorChoice> ExpertRules(string file, string model, MixtureOfExpertsSpec spec)
    {
        yield return TensorRules.Rename(file + "gate.weight", model + "router.weight");
        yield return TensorRules.Rename(file + "gate.e_score_correction_bias", model + "selection_bias");
        yield return TensorRules.Experts(file + "experts.", model, spec, numbered: true);
        if (spec.SharedWidth == 0) yield break;
        foreach (var rule in TensorRules.SwiGlu(file + "shared_experts.", model + "shared.", new SwiGluSpec(spec.SharedWidth))) yield return rule;
    }

    internal override IReadOnlyList<(string Prefix, string Part)> NotLoaded => [PredictionHeads];
}
