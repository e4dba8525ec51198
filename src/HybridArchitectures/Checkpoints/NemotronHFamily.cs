using System.Text.Json.Nodes;
using HybridArchitectures.Design;

namespace HybridArchitectures.Checkpoints;

/// <summary>
/// Implements Nemotron-H and Nemotron 3 (arXiv 2504.03624): each layer is one of Mamba-2, attention without positions, an ungated feed-forward, or
/// experts.
/// </summary>
sealed class NemotronHFamily() : PretrainedFamily("nemotron_h", "NemotronHForCausalLM")
{
    const string LayerWords = "layers_block_type", LayerPattern = "hybrid_override_pattern", PredictionWords = "mtp_layers_block_type",
        PredictionPattern = "mtp_hybrid_override_pattern";

    private protected override HybridDesign Read(PretrainedConfig config)
    {
        double epsilon = Epsilon(config);
        config.AgreeAbout("norm_eps", epsilon, "layer_norm_epsilon says");
        config.AgreeAbout("rms_norm_eps", epsilon, "layer_norm_epsilon says");
        return new HybridDesign
        {
            Name = ModelType, VocabularySize = config.Int("vocab_size"), Width = config.Int("hidden_size"),
            Blocks = Blocks(config, LayerWords, Layers(config)), TiedHead = config.Flag("tie_word_embeddings", false), NormEpsilon = epsilon,
        };
    }

    static double Epsilon(PretrainedConfig config) => config.Double("layer_norm_epsilon", config.Double("rms_norm_eps", 1e-5));

    static AttentionSpec Attention(PretrainedConfig config)
    {
        int heads = config.Int("num_attention_heads", 32);
        bool attentionBias = config.Flag("attention_bias", false) && !config.FollowsTransformers;
        var attention = new AttentionSpec
        {
            Heads = heads, KeyValueHeads = config.KeyValueHeads(heads, 8), InputBias = attentionBias, OutputBias = attentionBias,
            HeadSize = config.Int(config.Spelling("head_dim", "attention_head_dim"), 128),
        };
        config.Agree("num_query_groups", attention.KeyValueHeads, "num_key_value_heads says");
        config.NoWindow();
        return attention;
    }

    static EquatableList<BlockSpec> Blocks(PretrainedConfig config, string key, IReadOnlyList<string> words)
    {
        var (mamba, attention) = (Mamba(config), Attention(config));
        var activation = config.Activation("mlp_hidden_act", "relu2");
        bool bias = config.Flag("mlp_bias", false);
        double epsilon = Epsilon(config);
        BlockSpec Layer(string word) => word switch
        {
            "mamba" or "linear_attention" => new() { Mixer = mamba },
            "attention" or "full_attention" => new() { Mixer = attention },
            "mlp" => new() { FeedForward = new MlpSpec(config.Int("intermediate_size", 21504)) { Activation = activation, Bias = bias } },
            "moe" => new() { FeedForward = Experts(config, activation, bias) },
            _ => throw config.Refusal(key, word, "mamba, attention, mlp, moe, or the newer words linear_attention and full_attention"),
        };
        return [.. words.Select(word => Layer(word) with { NormEpsilon = epsilon })];
    }

    static Mamba2Spec Mamba(PretrainedConfig config)
    {
        int groups = config.Int(config.Spelling("mamba_n_groups", "n_groups"), 8);
        return new()
        {
            Heads = config.Int("mamba_num_heads", 128),
            HeadSize = config.Int("mamba_head_dim", 64),
            StateSize = config.Int("ssm_state_size", 128),
            Groups = groups,
            NormGroups = groups,
            ConvolutionWidth = config.Int(config.Spelling("mamba_d_conv", "conv_kernel"), 4),
            ConvolutionBias = config.Flag(config.Spelling("mamba_conv_bias", "use_conv_bias"), true),
            ProjectionBias = config.Flag("use_bias", false),
            Activation = config.Activation("mamba_hidden_act", "silu"),
            ChunkSize = Chunk(config, config.Spelling("mamba_chunk_size", "chunk_size"), 128),
            TimeStepLimit = config.TimeStepLimit(
                config.Spelling("mamba_dt_limit", "time_step_limit"), config.Spelling("mamba_dt_min", "time_step_min")),
        };
    }

    static IReadOnlyList<string> Layers(PretrainedConfig config)
    {
        var layers = Layers(config, config.Spelling(LayerWords, "layer_types"), LayerPattern)
            ?? throw config.Refusal(LayerWords, null, $"a list of layer words, or {LayerPattern}");
        config.Agree("num_hidden_layers", layers.Count, "the list of layers says");
        return layers;
    }

    // the layers in words or letters; null without both
    static IReadOnlyList<string>? Layers(PretrainedConfig config, string words, string pattern)
    {
        var (listed, letters) = (config.Texts(words), FromPattern(config, pattern));
        if (listed is not null && letters is not null && !listed.Select(HuggingFaceNames.Layer).SequenceEqual(letters))
            throw config.Refusal(pattern, config.Text(pattern), $"the layers that {words} lists");
        return listed ?? letters;
    }

    static IReadOnlyList<string>? FromPattern(PretrainedConfig config, string key)
    {
        if (config.Text(key) is not { } pattern) return null;
        if (pattern.Length is < 1 or > HybridDesign.MaxDepth)
            throw config.Refusal(key, $"{pattern.Length} letters", $"1 to {HybridDesign.MaxDepth}");
        return [.. pattern.Select(letter => letter switch
        {
            'M' => "linear_attention",
            '*' => "full_attention",
            '-' => "mlp",
            'E' => "moe",
            _ => throw config.Refusal(key, letter, "letters M, *, - and E"),
        })];
    }

    // attention has no positions; the number of shared experts has no effect, because their width is given; a head of multi-token prediction is
    // loaded separately
    private protected override IReadOnlyCollection<string> Unused =>
    [
        .. PretrainedConfig.RotaryKeys, "expand", "mamba_expand", "mamba_proj_bias", "time_step_rank", "intermediate_size", "num_query_groups",
        "hidden_act", "n_routed_experts", "num_experts_per_tok", "moe_intermediate_size", "n_shared_experts", "moe_shared_expert_intermediate_size",
        "moe_latent_size", "moe_shared_expert_overlap", "n_group", "topk_group", "norm_topk_prob", "routed_scaling_factor", "num_local_experts",
        PredictionLayers, PredictionWords, PredictionPattern,
    ];

    static MixtureOfExpertsSpec Experts(PretrainedConfig config, Activation activation, bool bias) => new()
    {
        Experts = config.Int("n_routed_experts", 8),
        ExpertsPerToken = config.Int("num_experts_per_tok", 2),
        ExpertWidth = config.Int("moe_intermediate_size", 7688),
        SharedExperts = Math.Max(1, config.Int("n_shared_experts", 1)),
        SharedWidth = config.Int("moe_shared_expert_intermediate_size", 7688),
        LatentWidth = config.Int("moe_latent_size", 0),
        Activation = activation,
        Gated = false,
        DenseBias = bias,
        RoutingGroups = config.Int("n_group", 1),
        GroupsPerToken = config.Int("topk_group", 1),
        Score = RouterScore.Sigmoid,
        Renormalize = config.Flag("norm_topk_prob", true),
        Scale = config.Double("routed_scaling_factor", 1),
        Balance = ExpertBalance.BiasUpdate,
    };

    private protected override void Write(HybridDesign design, JsonObject config)
    {
        if (FirstOrNone<Mamba2Spec>(design) is { } mamba) WriteMamba(config, mamba, design.Width);
        if (FirstOrNone<AttentionSpec>(design) is { } attention) WriteAttention(config, attention);
        var (mlp, experts) = (FirstFeedForward<MlpSpec>(design), FirstFeedForward<MixtureOfExpertsSpec>(design));
        if (mlp is not null) config["intermediate_size"] = mlp.Width;
        config["mlp_hidden_act"] = HuggingFaceNames.FromActivation(mlp?.Activation ?? experts?.Activation ?? Activation.ReluSquared);
        config["mlp_bias"] = mlp?.Bias ?? experts?.DenseBias ?? false;
        if (experts is not null) WriteExperts(config, experts);
        if (design.TiedHead) throw Unfit("a tied head", "a separate head, because transformers does not tie heads here");
        config["layer_norm_epsilon"] = design.NormEpsilon;
        config["num_hidden_layers"] = design.Depth;
        config[LayerPattern] = Pattern(design);
    }

    static string Pattern(HybridDesign design) => string.Concat(design.Blocks.Select(block => block switch
    {
        { Mixer: Mamba2Spec, FeedForward: NoFeedForward } => 'M',
        { Mixer: AttentionSpec, FeedForward: NoFeedForward } => '*',
        { Mixer: null, FeedForward: MlpSpec } => '-',
        { Mixer: null, FeedForward: MixtureOfExpertsSpec } => 'E',
        _ => throw Unfit($"a block {block.Symbol}", "blocks that are only a mixer or only an ungated feed-forward"),
    }));

    static void WriteMamba(JsonObject config, Mamba2Spec mamba, int width)
    {
        config["mamba_num_heads"] = mamba.Heads;
        config["mamba_head_dim"] = mamba.HeadSize;
        config["ssm_state_size"] = mamba.StateSize;
        config["n_groups"] = mamba.Groups;
        config["conv_kernel"] = mamba.ConvolutionWidth;
        config["use_conv_bias"] = mamba.ConvolutionBias;
        config["use_bias"] = mamba.ProjectionBias;
        config["chunk_size"] = mamba.ChunkSize;
        config["expand"] = Math.Max(1, mamba.InnerWidth / width);
        config["mamba_hidden_act"] = HuggingFaceNames.FromActivation(mamba.Activation);
        WriteBothLimits(config, mamba.TimeStepLimit);
    }

    static void WriteExperts(JsonObject config, MixtureOfExpertsSpec experts)
    {
        config["n_routed_experts"] = experts.Experts;
        config["num_experts_per_tok"] = experts.ExpertsPerToken;
        config["moe_intermediate_size"] = experts.ExpertWidth;
        config["n_shared_experts"] = experts.SharedExperts;
        config["moe_shared_expert_intermediate_size"] = experts.SharedWidth;
        config["moe_latent_size"] = experts.LatentWidth == 0 ? null : experts.LatentWidth;
        config["n_group"] = experts.RoutingGroups;
        config["topk_group"] = experts.GroupsPerToken;
        config["norm_topk_prob"] = experts.Renormalize;
        config["routed_scaling_factor"] = experts.Scale;
    }

    internal override bool HasPrediction => true;

    // as vLLM and TensorRT-LLM read it: the published folders have one head of attention and experts
    internal override HybridDesign? PredictionDesign(PretrainedConfig config, HybridDesign design)
    {
        if (config.Int(PredictionLayers, 1) is not 1 and var heads)
            throw config.Refusal(PredictionLayers, heads, "1, because one head is supported");
        var words = Layers(config, PredictionWords, PredictionPattern) ?? ["attention", "moe"];
        return (design with { Name = null, Blocks = Blocks(config, PredictionWords, words) }).Resolve();
    }

    internal override void WritePrediction(HybridDesign head, JsonObject config) =>
        (config[PredictionLayers], config[PredictionPattern]) = (1, Pattern(head));

    internal override IEnumerable<TensorChoice> PredictionTensors(HybridDesign design) =>
    [
        TensorRules.Rename("mtp.layers.0.enorm.weight", "embedding_norm.weight"),
        TensorRules.Rename("mtp.layers.0.hnorm.weight", "hidden_norm.weight"), TensorRules.Rename("mtp.layers.0.eh_proj.weight", "input.weight"),
        TensorRules.Rename($"mtp.layers.{design.Depth - 1}.final_layernorm.weight", "stack.norm.weight"), .. Layers(design, "mtp."),
    ];

    internal override IEnumerable<TensorChoice> Tensors(HybridDesign design) =>
        TensorRules.EmbeddingNormHead(design, "backbone.embeddings.weight", "backbone.norm_f.weight").Concat(Layers(design, "backbone."));

    static IEnumerable<TensorChoice> Layers(HybridDesign design, string root)
    {
        for (int i = 0; i < design.Depth; i++)
        {
            string file = $"{root}layers.{i}.mixer.", model = Block(i);
            bool mixes = design.Blocks[i].Mixer is not null;
            yield return TensorRules.Rename($"{root}layers.{i}.norm.weight", model + (mixes ? "mixer_norm.weight" : "feed_forward_norm.weight"));
            model += mixes ? "mixer." : "feed_forward.";
            var rules = design.Blocks[i] switch
            {
                { Mixer: Mamba2Spec mamba } => TensorRules.Mamba2(file, model, mamba),
                { Mixer: AttentionSpec attention } => TensorRules.Attention(file, model, attention),
                { FeedForward: MlpSpec mlp } => TensorRules.Mlp(file, model, mlp.Bias),
                { FeedForward: MixtureOfExpertsSpec experts } => Experts(file, model, experts),
                _ => throw new InvalidOperationException($"block {i + 1} is not a layer of nemotron_h"),
            };
            foreach (var rule in rules) yield return rule;
        }
    }

    static IEnumerable<TensorChoice> Experts(string file, string model, MixtureOfExpertsSpec spec)
    {
        yield return TensorRules.Rename(file + "gate.weight", model + "router.weight");
        yield return TensorRules.Rename(file + "gate.e_score_correction_bias", model + "selection_bias");
        yield return TensorRules.Experts(file + "experts.", model, spec);
        foreach (var rule in TensorRules.Mlp(file + "shared_experts.", model + "shared.", spec.DenseBias)) yield return rule;
        if (spec.LatentWidth == 0) yield break;
        foreach (var rule in TensorRules.Linear(file + "fc1_latent_proj", model + "into_latent", spec.DenseBias)) yield return rule;
        foreach (var rule in TensorRules.Linear(file + "fc2_latent_proj", model + "out_of_latent", spec.DenseBias)) yield return rule;
    }

    // the authors' code honours attention_bias, and transformers ignores it: the file shows which of them wrote it
    internal override HybridDesign Fit(HybridDesign design, Func<string, bool> has)
    {
        BlockSpec Fitted(BlockSpec block, int index)
        {
            if (block.Mixer is not AttentionSpec attention) return block;
            string file = $"backbone.layers.{index}.mixer.";
            return block with { Mixer = attention with { InputBias = has(file + "q_proj.bias"), OutputBias = has(file + "o_proj.bias") } };
        }
        return design with { Blocks = [.. design.Blocks.Select(Fitted)] };
    }

    internal override string Canonical(string name) => name.StartsWith("model.", StringComparison.Ordinal) ? "backbone." + name["model.".Length..]
        : name == "backbone.embedding.weight" ? "backbone.embeddings.weight" : name;

    internal override IReadOnlyList<(string Prefix, string Part)> NotLoaded => [PredictionHeads];
}
