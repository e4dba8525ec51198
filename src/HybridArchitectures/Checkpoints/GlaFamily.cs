using System.Text.Json.Nodes;
using HybridArchitectures.Design;

namespace HybridArchitectures.Checkpoints;

/// <summary>Implements gated linear attention (arXiv 2312.06635) as flash-linear-attention stores it.</summary>
sealed class GlaFamily() : FlaFamily("gla", "GLAForCausalLM")
{
    private protected override MixerSpec ReadMixer(PretrainedConfig config, int width)
    {
        int heads = config.Int("num_heads", 4);
        config.Only("use_short_conv", false);
        config.Only("use_output_gate", true);
        config.Only("elementwise_affine", true);
        config.Only("use_gk", true);
        config.Only("use_gv", false);
        config.Agree("num_kv_heads", heads, "num_heads says, because groups of heads are not supported here");
        return new GatedLinearAttentionSpec
        {
            Heads = heads, KeyHeadSize = HeadSize(config, "expand_k", 0.5, width, heads),
            ValueHeadSize = HeadSize(config, "expand_v", 1, width, heads),
            DecayRank = config.Int("gate_low_rank_dim", 16), DecayNormalizer = config.Double("gate_logit_normalizer", 16),
        };
    }

    // settings of a convolution that is not there
    private protected override IReadOnlyCollection<string> Unused => [.. base.Unused, "conv_size", "share_conv_kernel"];

    private protected override void WriteMixer(HybridDesign design, JsonObject config)
    {
        var mixer = FirstOr(design, new GatedLinearAttentionSpec { Heads = 1, KeyHeadSize = design.Width });
        config["num_heads"] = mixer.Heads;
        config["expand_k"] = (double)mixer.KeyWidth / design.Width;
        config["expand_v"] = (double)mixer.ValueWidth / design.Width;
        config["use_short_conv"] = false;
        config["use_output_gate"] = true;
        config["elementwise_affine"] = true;
        // flash-linear-attention always has 16 of both
        if (mixer.DecayRank != 16) config["gate_low_rank_dim"] = mixer.DecayRank;
        if (mixer.DecayNormalizer != 16) config["gate_logit_normalizer"] = mixer.DecayNormalizer;
    }

    static readonly (string, string)[] Projections =
        [("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value"), ("g_proj", "gate"), ("gk_proj.0", "decay_down"), ("o_proj", "output")];

    private protected override IEnumerable<TensorChoice> MixerRules(string file, string model, MixerSpec spec) =>
    [
        .. Projections.Select(pair => (TensorChoice)TensorRules.Rename($"{file}{pair.Item1}.weight", $"{model}{pair.Item2}.weight")),
        .. TensorRules.Linear(file + "gk_proj.1", model + "decay_up", bias: true),
        TensorRules.Rename(file + "g_norm_swish_gate.weight", model + "norm_weight"),
    ];
}
