using System.Text.Json.Nodes;
using HybridArchitectures.Design;

namespace HybridArchitectures.Checkpoints;

/// <summary>Implements Mamba-2 (arXiv 2405.21060).</summary>
sealed class Mamba2Family() : PretrainedFamily("mamba2", "Mamba2ForCausalLM")
{
    private protected override HybridDesign Read(PretrainedConfig config)
    {
        int width = config.Int("hidden_size"), groups = config.Int("n_groups", FlaFamily.Wrote(config) ? 1 : 8);
        double epsilon = config.Double(config.Spelling("layer_norm_epsilon", "norm_eps"), 1e-5);
        int heads = FlaFamily.Wrote(config) ? Expanded(config, "expand", width) / Math.Max(1, config.Int("head_dim", 64)) : 128;
        var mixer = new Mamba2Spec
        {
            Heads = config.Int("num_heads", heads),
            HeadSize = config.Int("head_dim", 64),
            StateSize = config.Int("state_size", 128),
            Groups = groups,
            NormGroups = config.NormGroups(groups), NormBeforeGate = FlaFamily.Wrote(config) && config.Flag("norm_before_gate", false),
            ConvolutionWidth = config.Int("conv_kernel", 4),
            ConvolutionBias = config.Flag("use_conv_bias", true),
            ProjectionBias = config.Flag("use_bias", false),
            Activation = config.Activation("hidden_act", "silu"),
            ChunkSize = Chunk(config, "chunk_size", 256),
            TimeStepLimit = config.TimeStepLimit(config.Spelling("time_step_limit", "dt_limit")),
        };
        int inner = Expanded(config, "expand", width);
        if (inner != (long)mixer.Heads * mixer.HeadSize)
            throw config.Refusal("num_heads", mixer.Heads, $"num_heads x head_dim equal to expand x hidden_size = {inner}");
        config.Agree("intermediate_size", inner, "expand x hidden_size says");
        config.Only(config.Spelling("rms_norm", "rmsnorm"), true);
        config.Only("D_has_hdim", false);
        if (config.Has("attn"))
            throw config.Refusal("attn", config.Value("attn"), "null, because mamba2 of flash-linear-attention has no attention layers");
        var block = new BlockSpec { Mixer = mixer, NormEpsilon = epsilon };
        return new HybridDesign
        {
            Name = ModelType, VocabularySize = config.Int("vocab_size"), Width = width,
            Blocks = Blocks(config.Depth("num_hidden_layers"), _ => block),
            TiedHead = config.Flag("tie_word_embeddings", false), NormEpsilon = epsilon,
        };
    }

    // in the published models, the norm follows the gate regardless of norm_before_gate
    private protected override IReadOnlyCollection<string> Unused =>
    [
        "time_step_min", "time_step_rank", "norm_before_gate", "dt_min", "dt_max", "dt_init_floor", "conv_init", "A_init_range", .. FlaFamily.Kernels,
    ];

    private protected override void Write(HybridDesign design, JsonObject config)
    {
        var mixer = First<Mamba2Spec>(design);
        if (mixer.InnerWidth % design.Width != 0) throw Unfit($"an inner width of {mixer.InnerWidth}", $"a multiple of the width {design.Width}");
        config["num_hidden_layers"] = design.Depth;
        config["layer_norm_epsilon"] = design.NormEpsilon;
        config["expand"] = mixer.InnerWidth / design.Width;
        config["num_heads"] = mixer.Heads;
        config["head_dim"] = mixer.HeadSize;
        config["state_size"] = mixer.StateSize;
        config["n_groups"] = mixer.Groups;
        config["conv_kernel"] = mixer.ConvolutionWidth;
        config["use_conv_bias"] = mixer.ConvolutionBias;
        config["use_bias"] = mixer.ProjectionBias;
        config["chunk_size"] = mixer.ChunkSize;
        config["hidden_act"] = HuggingFaceNames.FromActivation(mixer.Activation);
        WriteLimit(config, mixer.TimeStepLimit);
        WriteNormGroups(config, mixer);
    }

    internal override IEnumerable<TensorChoice> Tensors(HybridDesign design)
    {
        foreach (var rule in TensorRules.EmbeddingNormHead(design, "backbone.embeddings.weight", "backbone.norm_f.weight")) yield return rule;
        for (int i = 0; i < design.Depth; i++)
        {
            yield return TensorRules.Rename($"backbone.layers.{i}.norm.weight", Block(i) + "mixer_norm.weight");
            foreach (var rule in TensorRules.Mamba2($"backbone.layers.{i}.mixer.", Block(i) + "mixer.", (Mamba2Spec)design.Blocks[i].Mixer!))
                yield return rule;
        }
    }

    internal override string Canonical(string name) => name == "backbone.embedding.weight" ? "backbone.embeddings.weight" : name;
}
