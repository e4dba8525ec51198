using System.Text.Json.Nodes;
using HybridArchitectures.Design;

namespace HybridArchitectures.Checkpoints;

/// <summary>
/// Implements Bamba: Mamba-2 layers and some attention layers, each with a SwiGLU. Granite and Falcon-H1 use the same keys for their state-space
/// layers.
/// </summary>
sealed class BambaFamily() : PretrainedFamily("bamba", "BambaForCausalLM", skipsPadding: true, paddingId: 0)
{
    /// <summary>
    /// Reads the state-space layer from the keys <c>mamba_*</c>. A number of heads that contradicts the inner width is refused, as in transformers.
    /// </summary>
    /// <param name="config">The configuration.</param>
    /// <param name="inner">The inner width.</param>
    /// <param name="because">The setting that determines the inner width.</param>
    internal static Mamba2Spec ReadMamba2(PretrainedConfig config, int inner, string because)
    {
        int heads = config.Int("mamba_n_heads", 128), groups = config.Int("mamba_n_groups", 1);
        if (heads < 1) throw config.Refusal("mamba_n_heads", heads, "at least 1");
        int headSize = config.IntOrAuto("mamba_d_head", inner / heads);
        if ((long)heads * headSize != inner)
            throw config.Refusal("mamba_n_heads", heads, $"mamba_n_heads x mamba_d_head ({headSize}) equal to {inner}, as {because}");
        return new()
        {
            Heads = heads,
            HeadSize = headSize,
            StateSize = config.Int("mamba_d_state", 256),
            Groups = groups,
            NormGroups = config.NormGroups(groups),
            ConvolutionWidth = config.Int("mamba_d_conv", 4),
            ConvolutionBias = config.Flag("mamba_conv_bias", true),
            ProjectionBias = config.Flag("mamba_proj_bias", false),
            Activation = config.Activation("hidden_act", "silu"),
            ChunkSize = Chunk(config, "mamba_chunk_size", 256),
            TimeStepLimit = config.TimeStepLimit(),
        };
    }

    /// <summary>Reads the state-space layer whose inner width follows from <c>mamba_expand</c>.</summary>
    internal static Mamba2Spec ReadMamba2(PretrainedConfig config, int width) =>
        ReadMamba2(config, Expanded(config, "mamba_expand", width), "mamba_expand x hidden_size says");

    internal static void WriteMamba2(JsonObject config, Mamba2Spec spec, int width)
    {
        config["mamba_expand"] = Expansion(spec.InnerWidth, width);
        config["mamba_n_heads"] = spec.Heads;
        config["mamba_d_head"] = spec.HeadSize;
        config["mamba_d_state"] = spec.StateSize;
        config["mamba_n_groups"] = spec.Groups;
        WriteNormGroups(config, spec);
        config["mamba_d_conv"] = spec.ConvolutionWidth;
        config["mamba_conv_bias"] = spec.ConvolutionBias;
        config["mamba_proj_bias"] = spec.ProjectionBias;
        config["mamba_chunk_size"] = spec.ChunkSize;
        config["hidden_act"] = HuggingFaceNames.FromActivation(spec.Activation);
        WriteLimit(config, spec.TimeStepLimit);
    }

    /// <summary>Returns <c>mamba_expand</c>, which is an integer.</summary>
    internal static int Expansion(int inner, int width) => inner % width == 0
        ? inner / width
        : throw Unfit($"an inner width of {inner}", $"a multiple of the width {width}");

    private protected override HybridDesign Read(PretrainedConfig config)
    {
        int width = config.Int("hidden_size"), depth = config.Depth("num_hidden_layers"), heads = config.Int("num_attention_heads", 32);
        double epsilon = config.Double("rms_norm_eps", 1e-5);
        bool bias = config.Flag("attention_bias", false);
        var attention = new AttentionSpec
        {
            Heads = heads, KeyValueHeads = config.KeyValueHeads(heads, 8), HeadSize = config.HeadSize(width, heads),
            Rotary = config.Rotary(fraction: 0.5), InputBias = bias, OutputBias = bias,
        };
        config.Agree("attn_rotary_emb", attention.Rotary.Dimensions(attention.HeadSize), "partial_rotary_factor and the size of a head say");
        config.NoWindow();
        var mamba = ReadMamba2(config, width);
        var feedForward = new SwiGluSpec(config.Int("intermediate_size")) { Bias = config.Flag("mlp_bias", false), Activation = mamba.Activation };
        var attends = new bool[depth];
        foreach (double index in config.Numbers("attn_layer_indices") ?? [])
        {
            if (!(index >= 0 && index < depth && index == Math.Floor(index)))
                throw config.Refusal("attn_layer_indices", index, $"layers 0 to {depth - 1}");
            attends[(int)index] = true;
        }
        return new HybridDesign
        {
            Name = ModelType, VocabularySize = config.Int("vocab_size"), Width = width, TiedHead = config.Flag("tie_word_embeddings", false),
            NormEpsilon = epsilon, HeadZLoss = config.Double("z_loss_coefficient", 0),
            HeadZLossEverywhere = config.Double("z_loss_coefficient", 0) > 0,
            Blocks = Blocks(depth, i => new() { Mixer = attends[i] ? attention : mamba, FeedForward = feedForward, NormEpsilon = epsilon }),
        };
    }

    private protected override IReadOnlyCollection<string> Unused => ["time_step_min"];

    private protected override void Write(HybridDesign design, JsonObject config)
    {
        var attention = FirstOrNone<AttentionSpec>(design);
        var feedForward = FirstFeedForward<SwiGluSpec>(design) ?? throw Unfit("no SwiGLU", "one in every block");
        config["num_hidden_layers"] = design.Depth;
        config["rms_norm_eps"] = design.NormEpsilon;
        config["z_loss_coefficient"] = design.HeadZLoss;
        var substitute = new Mamba2Spec { Heads = 1, HeadSize = design.Width, StateSize = 1, Activation = feedForward.Activation };
        WriteMamba2(config, FirstOr(design, substitute), design.Width);
        WriteAttention(config, FirstOr(design, new AttentionSpec { Heads = 1 }));
        WriteRotary(config, attention?.Rotary, withFraction: true);
        config["attn_layer_indices"] =
            new JsonArray([.. Enumerable.Range(0, design.Depth).Where(i => design.Blocks[i].Mixer is AttentionSpec)
            .Select(i => JsonValue.Create(i))]);
        config["intermediate_size"] = feedForward.Width;
        config["mlp_bias"] = feedForward.Bias;
    }

    internal override IEnumerable<TensorChoice> Tensors(HybridDesign design)
    {
        foreach (var rule in TensorRules.EmbeddingNormHead(design, "model.embed_tokens.weight", "model.final_layernorm.weight")) yield return rule;
        for (int i = 0; i < design.Depth; i++)
        {
            string file = $"model.layers.{i}.", model = Block(i);
            yield return TensorRules.Rename(file + "input_layernorm.weight", model + "mixer_norm.weight");
            yield return TensorRules.Rename(file + "pre_ff_layernorm.weight", model + "feed_forward_norm.weight");
            var mixer = design.Blocks[i].Mixer is AttentionSpec attention
                ? TensorRules.Attention(file + "self_attn.", model + "mixer.", attention)
                : TensorRules.Mamba2(file + "mamba.", model + "mixer.", (Mamba2Spec)design.Blocks[i].Mixer!);
            foreach (var rule in mixer.Concat(
                TensorRules.SwiGlu(file + "feed_forward.", model + "feed_forward.", (SwiGluSpec)design.Blocks[i].FeedForward))) yield return rule;
        }
    }
}
