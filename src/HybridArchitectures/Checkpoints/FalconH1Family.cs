using System.Text.Json.Nodes;
using HybridArchitectures.Design;
using HybridArchitectures.Kernels;

namespace HybridArchitectures.Checkpoints;

/// <summary>Implements Falcon-H1 (arXiv 2507.22448): attention and Mamba-2 in parallel in every layer, added, with muP multipliers.</summary>
sealed class FalconH1Family() : PretrainedFamily("falcon_h1", "FalconH1ForCausalLM", skipsPadding: true, paddingId: 0)
{
    private protected override HybridDesign Read(PretrainedConfig config)
    {
        int width = config.Int("hidden_size");
        double epsilon = config.Double("rms_norm_eps", 1e-5);
        var multipliers = config.Numbers("mlp_multipliers", 2) ?? [1, 1];
        var mamba = StateSpace(config, width);
        config.Only("mamba_use_mlp", true);
        config.NoWindow();
        var block = new BlockSpec
        {
            Mixer = new IntraHybridSpec
            {
                Attention = Attention(config, width), StateSpace = mamba, Fusion = FusionKind.Add, Norm = BranchNorm.None,
                Output = OutputProjection.Separate,
            },
            NormEpsilon = epsilon,
            FeedForward = new SwiGluSpec(config.Int("intermediate_size"))
            {
                Bias = config.Flag("mlp_bias", false), Activation = mamba.Activation, GateScale = multipliers[0], OutputScale = multipliers[1],
            },
        };
        return new HybridDesign
        {
            Name = ModelType, VocabularySize = config.Int("vocab_size"), Width = width,
            Blocks = Blocks(config.Depth("num_hidden_layers"), _ => block),
            TiedHead = config.Flag("tie_word_embeddings", false), NormEpsilon = epsilon,
            EmbeddingScale = config.Double("embedding_multiplier", 1), LogitScale = config.Double("lm_head_multiplier", 1),
        };
    }

    static AttentionSpec Attention(PretrainedConfig config, int width)
    {
        int heads = config.Int("num_attention_heads", 32), headSize = config.HeadSize(width, heads);
        bool bias = config.Flag("attention_bias", false);
        return new AttentionSpec
        {
            Heads = heads, KeyValueHeads = config.KeyValueHeads(heads, 8), HeadSize = headSize, ValueHeadSize = headSize,
            Rotary = config.Rotary(), InputBias = bias, OutputBias = bias,
            InputScale = config.Double("attention_in_multiplier", 1), KeyScale = config.Double("key_multiplier", 1),
            OutputScale = config.Double("attention_out_multiplier", 1),
        };
    }

    static Mamba2Spec StateSpace(PretrainedConfig config, int width)
    {
        // an explicit inner width takes precedence over the multiple of the width, as in transformers
        int expanded = Expanded(config, "mamba_expand", width), inner = config.Int("mamba_d_ssm", config.IsNull("mamba_d_ssm") ? expanded : 1024);
        string because = config.Has("mamba_d_ssm") ? "mamba_d_ssm says" : "mamba_expand x hidden_size, or 1024 without mamba_d_ssm, says";
        var mamba = BambaFamily.ReadMamba2(config, inner, because);
        var scales = config.Numbers("ssm_multipliers", 5);
        bool gatedNorm = config.Flag("mamba_rms_norm", false);
        return mamba with
        {
            OutputBias = config.Flag("projectors_bias", false), GatedNorm = gatedNorm, NormGroups = gatedNorm ? mamba.Groups : 1,
            NormBeforeGate = gatedNorm && config.Flag("mamba_norm_before_gate", true),
            InputScale = config.Double("ssm_in_multiplier", 1), OutputScale = config.Double("ssm_out_multiplier", 1),
            ProjectionScales = scales is null || scales.All(scale => scale == 1) ? null
                : new(scales[0], scales[1], scales[2], scales[3], scales[4]),
        };
    }

    private protected override IReadOnlyCollection<string> Unused =>
        ["mamba_norm_before_gate", "time_step_min", "mlp_expansion_factor", "layers_block_type", "layer_types"];

    private protected override void Write(HybridDesign design, JsonObject config)
    {
        var mixer = First<IntraHybridSpec>(design);
        var attention = mixer.Attention;
        var mamba = mixer.StateSpace as Mamba2Spec ?? throw Unfit("Mamba-1 in its intra-layer hybrid", "Mamba-2");
        var feedForward = FirstFeedForward<SwiGluSpec>(design) ?? throw Unfit("no SwiGLU", "one in every block");
        config["num_hidden_layers"] = design.Depth;
        config["rms_norm_eps"] = design.NormEpsilon;
        WriteAttention(config, attention);
        WriteRotary(config, attention.Rotary);
        // mamba_d_ssm defines the inner width, so mamba_expand, which is an integer, has no effect
        BambaFamily.WriteMamba2(config, mamba, mamba.InnerWidth);
        config["mamba_d_ssm"] = mamba.InnerWidth;
        config["mamba_rms_norm"] = mamba.GatedNorm;
        config["mamba_norm_before_gate"] = mamba.NormBeforeGate;
        config["projectors_bias"] = mamba.HasOutputBias;
        config["attention_in_multiplier"] = attention.InputScale;
        config["key_multiplier"] = attention.KeyScale;
        config["attention_out_multiplier"] = attention.OutputScale;
        config["ssm_in_multiplier"] = mamba.InputScale;
        config["ssm_out_multiplier"] = mamba.OutputScale;
        var scales = mamba.ProjectionScales ?? new(1, 1, 1, 1, 1);
        config["ssm_multipliers"] = new JsonArray(scales.Gate, scales.Values, scales.B, scales.C, scales.TimeStep);
        config["mlp_multipliers"] = new JsonArray(feedForward.GateScale, feedForward.OutputScale);
        config["embedding_multiplier"] = design.EmbeddingScale;
        config["lm_head_multiplier"] = design.LogitScale;
        config["intermediate_size"] = feedForward.Width;
        config["mlp_bias"] = feedForward.Bias;
    }

    internal override IEnumerable<TensorChoice> Tensors(HybridDesign design)
    {
        foreach (var rule in TensorRules.EmbeddingNormHead(design, "model.embed_tokens.weight", "model.final_layernorm.weight")) yield return rule;
        for (int i = 0; i < design.Depth; i++)
        {
            string file = $"model.layers.{i}.", model = Block(i);
            var mixer = (IntraHybridSpec)design.Blocks[i].Mixer!;
            yield return TensorRules.Rename(file + "input_layernorm.weight", model + "mixer_norm.weight");
            yield return TensorRules.Rename(file + "pre_ff_layernorm.weight", model + "feed_forward_norm.weight");
            foreach (var rule in TensorRules.Attention(file + "self_attn.", model + "mixer.attention.", mixer.Attention)) yield return rule;
            foreach (var rule in TensorRules.Mamba2(file + "mamba.", model + "mixer.state_space.", (Mamba2Spec)mixer.StateSpace)) yield return rule;
            foreach (var rule in TensorRules.SwiGlu(file + "feed_forward.", model + "feed_forward.", (SwiGluSpec)design.Blocks[i].FeedForward))
                yield return rule;
        }
    }
}
