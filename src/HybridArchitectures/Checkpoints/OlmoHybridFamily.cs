using System.Text.Json.Nodes;
using HybridArchitectures.Design;

namespace HybridArchitectures.Checkpoints;

/// <summary>
/// Implements Olmo-Hybrid: gated delta nets with negative eigenvalues and norms before their blocks, and attention with norms of all heads of queries
/// and keys together, usually without positions, and norms after its blocks.
/// </summary>
sealed class OlmoHybridFamily() : PretrainedFamily("olmo_hybrid", "OlmoHybridForCausalLM", skipsPadding: true, paddingId: 100277)
{
    // the gated norm ignores rms_norm_eps
    const double GatedNormEpsilon = 1e-5;

    private protected override HybridDesign Read(PretrainedConfig config)
    {
        int width = config.Int("hidden_size"), depth = config.Depth("num_hidden_layers"), heads = config.Int("num_attention_heads");
        double epsilon = config.Double("rms_norm_eps", 1e-6);
        bool bias = config.Flag("attention_bias", false);
        var activation = config.Activation("hidden_act", "silu");
        var attention = new AttentionSpec
        {
            Heads = heads, KeyValueHeads = config.KeyValueHeads(heads, heads), HeadSize = config.HeadSize(width, heads),
            QkNorm = true, QkNormAcrossHeads = true, InputBias = bias, OutputBias = bias, Rotary = config.RotaryOrNone(10_000),
        };
        int keyHeads = config.Int("linear_num_key_heads", heads);
        int keySize = config.Int("linear_key_head_dim", keyHeads < 1 ? null : (int)(0.75 * width / keyHeads));
        var delta = new GatedDeltaSpec
        {
            KeyHeads = keyHeads, ValueHeads = config.Int("linear_num_value_heads", heads), KeyHeadSize = keySize,
            ValueHeadSize = config.Int("linear_value_head_dim", checked(2 * keySize)), ConvolutionWidth = config.Int("linear_conv_kernel_dim", 4),
            NegativeEigenvalues = config.Flag("linear_allow_neg_eigval", true), GatedNormEpsilon = GatedNormEpsilon, Activation = activation,
        };
        bool[] attends = Attends(config, depth);
        var feedForward = new SwiGluSpec(config.Int("intermediate_size")) { Activation = activation };
        return new HybridDesign
        {
            Name = ModelType, VocabularySize = config.Int("vocab_size"), Width = width, NormEpsilon = epsilon,
            TiedHead = config.Flag("tie_word_embeddings", false),
            Blocks = Blocks(depth, i => new()
            {
                Mixer = attends[i] ? attention : delta, FeedForward = feedForward, NormEpsilon = epsilon,
                Norms = attends[i] ? NormPlacement.After : NormPlacement.Before,
            }),
        };
    }

    static bool[] Attends(PretrainedConfig config, int depth)
    {
        // the last layer attends if no other does
        if (!config.Has("layer_types")) return [.. Enumerable.Range(0, depth).Select(i => i % 4 == 3 || (depth < 4 && i == depth - 1))];
        return Qwen3NextFamily.Attends(config, depth);
    }

    // the range of initial values
    private protected override IReadOnlyCollection<string> Unused =>
        ["linear_a_log_min", "linear_a_log_max", "linear_dt_min", "linear_dt_max", "linear_dt_init_floor"];

    private protected override void Write(HybridDesign design, JsonObject config)
    {
        // transformers refuses configurations without layers of both kinds
        var delta = First<GatedDeltaSpec>(design);
        var attention = First<AttentionSpec>(design);
        WriteTransformer(design, attention, config);
        Qwen3NextFamily.WriteMixers(design, config);
        // the head size follows from the width
        config.Remove("head_dim");
        config.Remove("rope_theta");
        config.Remove("partial_rotary_factor");
        config["linear_allow_neg_eigval"] = delta.NegativeEigenvalues;
        if (attention.Rotary is null) config["rope_parameters"] = new JsonObject { ["rope_theta"] = null, ["rope_type"] = "default" };
        else config["rope_parameters"] = RotaryParameters(attention.Rotary);
    }

    internal override IEnumerable<TensorChoice> Tensors(HybridDesign design)
    {
        foreach (var rule in TensorRules.EmbeddingNormHead(design, "model.embed_tokens.weight", "model.norm.weight")) yield return rule;
        for (int i = 0; i < design.Depth; i++)
        {
            string file = $"model.layers.{i}.", model = Block(i);
            var rules = design.Blocks[i].Mixer is AttentionSpec attention ? Attention(file, model, attention)
                : Delta(file, model, (GatedDeltaSpec)design.Blocks[i].Mixer!);
            var feedForward = TensorRules.SwiGlu(file + "mlp.", model + "feed_forward.", (SwiGluSpec)design.Blocks[i].FeedForward);
            foreach (var rule in rules.Concat(feedForward)) yield return rule;
        }
    }

    // one of two names; the first is that of the published files, the second is the one that transformers saves
    static TensorChoice Norm(string first, string second, string model) =>
        new([TensorRules.Rename(first, model)], [TensorRules.Rename(second, model)]);

    static IEnumerable<TensorChoice> Attention(string file, string model, AttentionSpec spec) =>
    [
        Norm(file + "post_attention_layernorm.weight", file + "feedforward_layer_norm.weight", model + "mixer_norm.weight"),
        TensorRules.Rename(file + "post_feedforward_layernorm.weight", model + "feed_forward_norm.weight"),
        .. TensorRules.Attention(file + "self_attn.", model + "mixer.", spec), .. TensorRules.QkNorm(file + "self_attn.", model + "mixer.", spec),
    ];

    static IEnumerable<TensorChoice> Delta(string layer, string block, GatedDeltaSpec spec)
    {
        string file = layer + "linear_attn.", model = block + "mixer.";
        yield return Norm(layer + "attention_layer_norm.weight", layer + "input_layernorm.weight", block + "mixer_norm.weight");
        yield return Norm(layer + "feedforward_layer_norm.weight", layer + "post_attention_layernorm.weight", block + "feed_forward_norm.weight");
        foreach (var rule in TensorRules.DeltaProjections(model, spec, (file + "q_proj.weight", "q"), (file + "k_proj.weight", "k"),
            (file + "v_proj.weight", "v"), (file + "g_proj.weight", "z"), (file + "b_proj.weight", "b"), (file + "a_proj.weight", "a")))
            yield return rule;
        // transformers divides the joined convolution into thirds, whatever the widths
        int channels = spec.ConvolutionChannels, third = (channels + 2) / 3;
        yield return new(TensorRules.SplitFilters(file, model, spec.KeyWidth, spec.KeyWidth, spec.ValueWidth),
            TensorRules.SplitFilters(file, model, third, third, channels - 2 * third),
            [new(file + "conv1d.weight", [new(model + "conv_weight")], IsFilter: true)]);
        foreach (var (name, parameter) in new[] { ("dt_bias", "dt_bias"), ("A_log", "A_log"), ("o_norm.weight", "norm_weight"),
            ("o_proj.weight", "output.weight") })
            yield return TensorRules.Rename(file + name, model + parameter);
    }
}
