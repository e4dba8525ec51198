using System.Text.Json.Nodes;
using HybridArchitectures.Design;

namespace HybridArchitectures.Checkpoints;

/// <summary>Implements Mamba-1 (arXiv 2312.00752).</summary>
class MambaFamily : PretrainedFamily
{
    /// <summary>Initializes the family of Mamba-1.</summary>
    public MambaFamily() : this("mamba", "MambaForCausalLM") { }

    private protected MambaFamily(string modelType, string architecture) : base(modelType, architecture) { }

    private protected override IReadOnlyCollection<string> Unused =>
    [
        "time_step_min", "mixer_rms_eps", "dt_scale", "dt_min", "dt_max", "dt_init_scheme", "dt_init_floor", .. FlaFamily.Kernels,
    ];

    private protected virtual Mamba1Spec Complete(Mamba1Spec spec, PretrainedConfig config) => spec;

    private protected override HybridDesign Read(PretrainedConfig config)
    {
        int width = config.Int("hidden_size"), depth = config.Depth("num_hidden_layers");
        double epsilon = config.Double(config.Spelling("layer_norm_epsilon", "norm_eps"), 1e-5);
        // an explicit inner width takes precedence, as in transformers: Falcon Mamba 7B states 16 and twice the width
        int inner = config.Int("intermediate_size", Expanded(config, "expand", width));
        config.Agree("d_inner", inner, "intermediate_size or expand says");
        config.Agree("d_model", width, "hidden_size says");
        config.Agree("n_layer", depth, "num_hidden_layers says");
        config.Only("rms_norm", true);
        if (config.Has("attn"))
            throw config.Refusal("attn", config.Value("attn"), "null, because mamba of flash-linear-attention has no attention layers");
        var mixer = new Mamba1Spec
        {
            InnerWidth = inner,
            StateSize = config.Int("state_size", 16),
            ConvolutionWidth = config.Int("conv_kernel", 4),
            TimeStepRank = config.IntOrAuto(config.Spelling("time_step_rank", "dt_rank"), (width + 15) / 16),
            ConvolutionBias = config.Flag("use_conv_bias", true),
            ProjectionBias = config.Flag("use_bias", false),
            Activation = config.Activation("hidden_act", "silu"),
        };
        var block = new BlockSpec { Mixer = Complete(mixer, config), NormEpsilon = epsilon };
        return new HybridDesign
        {
            Name = ModelType, VocabularySize = config.Int("vocab_size"), Width = width, Blocks = Blocks(depth, _ => block),
            TiedHead = config.Flag("tie_word_embeddings", !FlaFamily.Wrote(config)), NormEpsilon = epsilon,
        };
    }

    private protected override void Write(HybridDesign design, JsonObject config)
    {
        var mixer = First<Mamba1Spec>(design);
        config["num_hidden_layers"] = design.Depth;
        config["layer_norm_epsilon"] = design.NormEpsilon;
        config["expand"] = Math.Max(1, mixer.InnerWidth / design.Width);        // intermediate_size takes precedence
        config["intermediate_size"] = mixer.InnerWidth;
        config["state_size"] = mixer.StateSize;
        config["conv_kernel"] = mixer.ConvolutionWidth;
        config["time_step_rank"] = mixer.TimeStepRank;
        config["use_conv_bias"] = mixer.ConvolutionBias;
        config["use_bias"] = mixer.ProjectionBias;
        config["hidden_act"] = HuggingFaceNames.FromActivation(mixer.Activation);
    }

    internal override IEnumerable<TensorChoice> Tensors(HybridDesign design)
    {
        foreach (var rule in TensorRules.EmbeddingNormHead(design, "backbone.embeddings.weight", "backbone.norm_f.weight")) yield return rule;
        for (int i = 0; i < design.Depth; i++)
        {
            yield return TensorRules.Rename($"backbone.layers.{i}.norm.weight", Block(i) + "mixer_norm.weight");
            foreach (var rule in TensorRules.Mamba1($"backbone.layers.{i}.mixer.", Block(i) + "mixer.", (Mamba1Spec)design.Blocks[i].Mixer!))
                yield return rule;
        }
    }

    internal override string Canonical(string name) => name == "backbone.embedding.weight" ? "backbone.embeddings.weight" : name;
}
