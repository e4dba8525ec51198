using System.Text.Json.Nodes;
using HybridArchitectures.Design;

namespace HybridArchitectures.Checkpoints;

/// <summary>Implements LFM2 (arXiv 2511.23404): gated short convolutions, and some attention layers with norms of queries and keys.</summary>
sealed class Lfm2Family() : PretrainedFamily("lfm2", "Lfm2ForCausalLM", skipsPadding: true, paddingId: 0)
{
    private protected override HybridDesign Read(PretrainedConfig config)
    {
        int width = config.Int("hidden_size"), depth = config.Depth("num_hidden_layers"), heads = config.Int("num_attention_heads");
        double epsilon = config.Double("norm_eps", 1e-5);
        foreach (string key in new[] { "block_dim", "conv_dim", "conv_dim_out" }) config.Agree(key, width, "hidden_size says");
        config.Agree("num_heads", heads, "num_attention_heads says");
        config.AgreeAbout("block_norm_eps", epsilon, "norm_eps says");
        config.Only("block_use_swiglu", true);
        config.Only("use_pos_enc", true);
        config.NoWindow();
        var attention = new AttentionSpec
        {
            Heads = heads, KeyValueHeads = config.KeyValueHeads(heads, 8), HeadSize = config.HeadSize(width, heads), QkNorm = true,
            Rotary = config.Rotary(config.Double(config.Spelling("theta", "rope_theta"), 1_000_000)),
        };
        var convolution = new ShortConvolutionSpec { ConvolutionWidth = config.Int("conv_L_cache", 3), Bias = config.Flag("conv_bias", false) };
        var attends = Attends(config, depth);
        var feedForward = new SwiGluSpec(InnerWidth(config));
        return new HybridDesign
        {
            Name = ModelType, VocabularySize = config.Int("vocab_size"), Width = width, NormEpsilon = epsilon,
            TiedHead = config.Flag("tie_embedding", config.Flag("tie_word_embeddings", true)),
            Blocks = Blocks(depth, i => new() { Mixer = attends[i] ? attention : convolution, FeedForward = feedForward, NormEpsilon = epsilon }),
        };
    }

    /// <summary>Returns which layers are attention.</summary>
    internal static bool[] Attends(PretrainedConfig config, int depth)
    {
        bool[]? listed = config.Numbers("full_attn_idxs") is { } indices ? [.. Enumerable.Range(0, depth).Select(i => indices.Contains(i))] : null;
        if (config.Texts("layer_types") is not { } words) return listed ?? [.. Enumerable.Repeat(true, depth)];
        if (words.Count != depth) throw config.Refusal("layer_types", $"{words.Count} words", $"{depth}, as num_hidden_layers says");
        bool[] attends = [.. words.Select(word => word switch
        {
            "full_attention" => true,
            "conv" => false,
            _ => throw config.Refusal("layer_types", word, "conv or full_attention"),
        })];
        if (listed is not null && !listed.SequenceEqual(attends))
            throw config.Refusal("full_attn_idxs", config.Value("full_attn_idxs"), "the layers that layer_types calls full_attention");
        return attends;
    }

    // two thirds of the stated width, times a factor, rounded up
    static int InnerWidth(PretrainedConfig config)
    {
        // transformers reads block_ff_dim first
        int stated = config.Int("intermediate_size", 12288), width = config.Int("block_ff_dim", stated);
        if (!config.Flag("block_auto_adjust_ff_dim", true)) return width;
        int multiple = config.Int("block_multiple_of", 256);
        if (multiple < 1) throw config.Refusal("block_multiple_of", multiple, "at least 1");
        width = checked(2 * width) / 3;
        if (config.IsNull("block_ffn_dim_multiplier")) return width;
        width = checked((int)(config.Double("block_ffn_dim_multiplier", 1) * width));
        return checked(width + multiple - 1) / multiple * multiple;
    }

    private protected override IReadOnlyCollection<string> Unused =>
    [
        "block_multiple_of", "block_ffn_dim_multiplier", "block_mlp_init_scale", "block_out_init_scale", "block_use_xavier_init",
        "conv_use_xavier_init",
    ];

    private protected override void Write(HybridDesign design, JsonObject config)
    {
        WriteMixers(design, config);
        config["intermediate_size"] = FirstFeedForward<SwiGluSpec>(design)?.Width ?? throw Unfit("no SwiGLU", "one in every block");
        config["block_auto_adjust_ff_dim"] = false;
    }

    /// <summary>Writes depth, epsilon, layer types, convolution and attention.</summary>
    internal static void WriteMixers(HybridDesign design, JsonObject config)
    {
        var convolution = FirstOr(design, new ShortConvolutionSpec());
        var attention = FirstOrNone<AttentionSpec>(design);
        config["num_hidden_layers"] = design.Depth;
        config["norm_eps"] = design.NormEpsilon;
        config["conv_L_cache"] = convolution.ConvolutionWidth;
        config["conv_bias"] = convolution.Bias;
        config["num_attention_heads"] = 1;
        if (attention is not null) WriteAttention(config, attention);
        config.Remove("attention_bias");
        WriteRotary(config, attention?.Rotary);
        config["layer_types"] = new JsonArray(
            [.. design.Blocks.Select(block => JsonValue.Create(block.Mixer is AttentionSpec ? "full_attention" : "conv"))]);
    }

    internal override IEnumerable<TensorChoice> Tensors(HybridDesign design)
    {
        foreach (var rule in TensorRules.EmbeddingNormHead(design, "model.embed_tokens.weight", "model.embedding_norm.weight")) yield return rule;
        for (int i = 0; i < design.Depth; i++)
        {
            string file = $"model.layers.{i}.", model = Block(i);
            foreach (var rule in Mixer(file, model, design.Blocks[i].Mixer!)) yield return rule;
            foreach (var rule in Dense(file + "feed_forward.", model + "feed_forward.")) yield return rule;
        }
    }

    /// <summary>Returns the rules of the norms and the mixer of a layer.</summary>
    internal static IEnumerable<TensorChoice> Mixer(string file, string block, MixerSpec spec)
    {
        string model = block + "mixer.";
        yield return TensorRules.Rename(file + "operator_norm.weight", block + "mixer_norm.weight");
        yield return TensorRules.Rename(file + "ffn_norm.weight", block + "feed_forward_norm.weight");
        TensorChoice[] rules = spec is ShortConvolutionSpec convolution
            ?
            [
                .. TensorRules.Linear(file + "conv.in_proj", model + "input", convolution.Bias),
                .. TensorRules.ConvolutionFilter(file + "conv.conv", model, convolution.Bias),
                .. TensorRules.Linear(file + "conv.out_proj", model + "output", convolution.Bias),
            ]
            :
            [
                .. TensorRules.Linear(file + "self_attn.q_proj", model + "query", false),
                .. TensorRules.Linear(file + "self_attn.k_proj", model + "key", false),
                .. TensorRules.Linear(file + "self_attn.v_proj", model + "value", false),
                .. TensorRules.Linear(file + "self_attn.out_proj", model + "output", false),
                TensorRules.Rename(file + "self_attn.q_layernorm.weight", model + "query_norm.weight"),
                TensorRules.Rename(file + "self_attn.k_layernorm.weight", model + "key_norm.weight"),
            ];
        foreach (var rule in rules) yield return rule;
    }

    /// <summary>Returns the rules of a dense feed-forward.</summary>
    internal static IEnumerable<TensorChoice> Dense(string file, string model) =>
        new[] { ("w1", "gate"), ("w3", "up"), ("w2", "down") }.Select(pair =>
            (TensorChoice)TensorRules.Rename($"{file}{pair.Item1}.weight", $"{model}{pair.Item2}.weight"));
}
