using System.Text.Json.Nodes;
using HybridArchitectures.Design;

namespace HybridArchitectures.Checkpoints;

/// <summary>Implements DeltaNet (arXiv 2406.06484) as flash-linear-attention stores it: the delta rule without decays.</summary>
sealed class DeltaNetFamily() : FlaFamily("delta_net", "DeltaNetForCausalLM")
{
    private protected override MixerSpec ReadMixer(PretrainedConfig config, int width)
    {
        RequireConvolution(config);
        config.Only("qk_norm", "l2");
        config.Only("qk_activation", "silu");
        config.Only("use_beta", true);
        config.Only("use_output_norm", true);
        int heads = config.Int("num_heads", 16);
        return new GatedDeltaSpec
        {
            KeyHeads = heads, ValueHeads = heads, KeyHeadSize = HeadSize(config, "expand_k", 1, width, heads),
            ValueHeadSize = HeadSize(config, "expand_v", 1, width, heads), Decays = false, OutputGate = config.Flag("use_gate", false),
            ConvolutionWidth = config.Int("conv_size", 4), ConvolutionBias = config.Flag("conv_bias", false),
            NegativeEigenvalues = config.Flag("allow_neg_eigval", false),
        };
    }

    private protected override void WriteMixer(HybridDesign design, JsonObject config)
    {
        var delta = FirstOr(design, new GatedDeltaSpec { KeyHeads = 1, KeyHeadSize = design.Width, ValueHeadSize = design.Width });
        config["num_heads"] = delta.KeyHeads;
        config["expand_k"] = (double)delta.KeyWidth / design.Width;
        config["expand_v"] = (double)delta.ValueWidth / design.Width;
        config["use_gate"] = delta.OutputGate;
        config["use_beta"] = true;
        config["use_output_norm"] = true;
        config["qk_norm"] = "l2";
        config["qk_activation"] = "silu";
        GatedDeltaNetFamily.WriteDelta(delta, config);
    }

    private protected override IEnumerable<TensorChoice> MixerRules(string file, string model, MixerSpec spec) =>
        GatedDeltaNetFamily.DeltaRules(file, model, (GatedDeltaSpec)spec);
}
