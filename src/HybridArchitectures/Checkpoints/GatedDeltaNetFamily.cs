using System.Text.Json.Nodes;
using HybridArchitectures.Design;

namespace HybridArchitectures.Checkpoints;

/// <summary>Implements Gated DeltaNet (arXiv 2412.06464) as flash-linear-attention stores it.</summary>
sealed class GatedDeltaNetFamily() : FlaFamily("gated_deltanet", "GatedDeltaNetForCausalLM")
{
    private protected override MixerSpec ReadMixer(PretrainedConfig config, int width)
    {
        RequireConvolution(config);
        int heads = config.Int("num_heads", 6), size = config.Int("head_dim", 256);
        return new GatedDeltaSpec
        {
            KeyHeads = heads, ValueHeads = config.Int("num_v_heads", heads), KeyHeadSize = size,
            ValueHeadSize = HeadSize(config, "expand_v", 2, size, 1), OutputGate = config.Flag("use_gate", true),
            ConvolutionWidth = config.Int("conv_size", 4), ConvolutionBias = config.Flag("conv_bias", false),
            NegativeEigenvalues = config.Flag("allow_neg_eigval", false),
        };
    }

    private protected override void WriteMixer(HybridDesign design, JsonObject config)
    {
        var delta = FirstOr(design, new GatedDeltaSpec { KeyHeads = 1, KeyHeadSize = 1 });
        config["num_heads"] = delta.KeyHeads;
        config["num_v_heads"] = delta.ValueHeads;
        config["head_dim"] = delta.KeyHeadSize;
        config["expand_v"] = (double)delta.ValueHeadSize / delta.KeyHeadSize;
        config["use_gate"] = delta.OutputGate;
        WriteDelta(delta, config);
    }

    /// <summary>Writes the convolution and the range of update strengths.</summary>
    internal static void WriteDelta(GatedDeltaSpec delta, JsonObject config)
    {
        config["use_short_conv"] = true;
        config["conv_size"] = delta.ConvolutionWidth;
        if (delta.ConvolutionBias) config["conv_bias"] = true;
        config["allow_neg_eigval"] = delta.NegativeEigenvalues;
    }

    // published files have a number per head that the code does not use
    internal override bool IsIgnored(string name, HybridDesign design) => base.IsIgnored(name, design)
        || (name.StartsWith("model.layers.", StringComparison.Ordinal) && name.EndsWith(".attn.D", StringComparison.Ordinal));

    private protected override IEnumerable<TensorChoice> MixerRules(string file, string model, MixerSpec spec) =>
        DeltaRules(file, model, (GatedDeltaSpec)spec);

    /// <summary>Returns the rules of a delta rule with or without decays and gate.</summary>
    internal static IEnumerable<TensorChoice> DeltaRules(string file, string model, GatedDeltaSpec spec)
    {
        List<(string, string)> projections =
            [(file + "q_proj.weight", "q"), (file + "k_proj.weight", "k"), (file + "v_proj.weight", "v"), (file + "b_proj.weight", "b")];
        if (spec.OutputGate) projections.Add((file + "g_proj.weight", "z"));
        if (spec.Decays) projections.Add((file + "a_proj.weight", "a"));
        foreach (var rule in TensorRules.DeltaProjections(model, spec, [.. projections])) yield return rule;
        foreach (var rule in TensorRules.SplitFilters(file, model, spec.KeyWidth, spec.KeyWidth, spec.ValueWidth)) yield return rule;
        if (spec.ConvolutionBias)
            foreach (var rule in Biases(file, model, spec.KeyWidth, spec.KeyWidth, spec.ValueWidth)) yield return rule;
        if (spec.Decays)
        {
            yield return TensorRules.Rename(file + "dt_bias", model + "dt_bias");
            yield return TensorRules.Rename(file + "A_log", model + "A_log");
        }
        yield return TensorRules.Rename(file + "o_norm.weight", model + "norm_weight");
        yield return TensorRules.Rename(file + "o_proj.weight", model + "output.weight");
    }

    /// <summary>Returns the rules of the biases of three convolutions that are one in the model.</summary>
    static IEnumerable<TensorRule> Biases(string file, string model, params int[] widths)
    {
        string[] names = ["q_conv1d", "k_conv1d", "v_conv1d"];
        for (int i = 0, start = 0; i < widths.Length; start += widths[i++])
            yield return new($"{file}{names[i]}.bias", [new(model + "conv_bias", Rows: new(1, start, widths[i]))]);
    }
}
