using System.Text.Json.Nodes;
using HybridArchitectures.Design;

namespace HybridArchitectures.Checkpoints;

/// <summary>Implements Mamba-3 with one input and one output per head, as flash-linear-attention stores it.</summary>
sealed class Mamba3Family() : PretrainedFamily("mamba3", "Mamba3ForCausalLM")
{
    private protected override HybridDesign Read(PretrainedConfig config)
    {
        int width = config.Int("hidden_size");
        double epsilon = config.Double("norm_eps", 1e-5);
        config.Only("is_mimo", false);
        int headSize = config.Int("head_dim", 64), inner = Expanded(config, "expand", width);
        config.Agree("num_heads", headSize < 1 ? 0 : inner / headSize, "expand x hidden_size / head_dim says");
        config.Only("is_outproj_norm", false);
        config.Only("hidden_act", "silu");
        var mixer = new Mamba3Spec
        {
            HeadSize = headSize, StateSize = config.Int("state_size", 128), InnerWidth = inner,
            Groups = config.Int("n_groups", 1), RotaryFraction = config.Double("rope_fraction", 0.5), DecayFloor = config.Double("A_floor", 1e-4),
            ProjectionBias = config.Flag("use_bias", false), ChunkSize = Chunk(config, "chunk_size", 64),
        };
        var block = new BlockSpec { Mixer = mixer, NormEpsilon = epsilon };
        return new HybridDesign
        {
            Name = ModelType, VocabularySize = config.Int("vocab_size", 32_000), Width = width, NormEpsilon = epsilon,
            Blocks = Blocks(config.Depth("num_hidden_layers"), _ => block), TiedHead = config.Flag("tie_word_embeddings", false),
        };
    }

    // initial values, and the rank of inputs that do not exist
    private protected override IReadOnlyCollection<string> Unused => ["dt_min", "dt_max", "dt_init_floor", "mimo_rank", .. FlaFamily.Kernels];

    private protected override void Write(HybridDesign design, JsonObject config)
    {
        var mixer = First<Mamba3Spec>(design);
        config["num_hidden_layers"] = design.Depth;
        config["norm_eps"] = design.NormEpsilon;
        if (mixer.InnerWidth % design.Width != 0) throw Unfit($"an inner width of {mixer.InnerWidth}", $"a multiple of the width {design.Width}");
        config["expand"] = mixer.InnerWidth / design.Width;
        config["head_dim"] = mixer.HeadSize;
        config["state_size"] = mixer.StateSize;
        config["n_groups"] = mixer.Groups;
        config["rope_fraction"] = mixer.RotaryFraction;
        config["A_floor"] = mixer.DecayFloor;
        config["use_bias"] = mixer.ProjectionBias;
        config["chunk_size"] = mixer.ChunkSize;
        config["hidden_act"] = "silu";
        config["is_mimo"] = false;
        config["is_outproj_norm"] = false;
    }

    internal override IEnumerable<TensorChoice> Tensors(HybridDesign design)
    {
        foreach (var rule in TensorRules.EmbeddingNormHead(design, "backbone.embeddings.weight", "backbone.norm_f.weight")) yield return rule;
        for (int i = 0; i < design.Depth; i++)
        {
            yield return TensorRules.Rename($"backbone.layers.{i}.norm.weight", Block(i) + "mixer_norm.weight");
            foreach (var rule in Mixer($"backbone.layers.{i}.mixer.", Block(i) + "mixer.", (Mamba3Spec)design.Blocks[i].Mixer!)) yield return rule;
        }
    }

    static IEnumerable<TensorChoice> Mixer(string file, string model, Mamba3Spec spec) =>
    [
        .. TensorRules.Linear(file + "in_proj", model + "input", spec.ProjectionBias),
        .. TensorRules.Linear(file + "out_proj", model + "output", spec.ProjectionBias),
        TensorRules.Rename(file + "dt_bias", model + "dt_bias"), TensorRules.Rename(file + "D", model + "D"),
        TensorRules.Rename(file + "B_norm.weight", model + "b_norm"), TensorRules.Rename(file + "C_norm.weight", model + "c_norm"),
        new TensorRule(file + "B_bias", [new(model + "b_bias")], Stored: [spec.Heads, 1, spec.StateSize]),
        new TensorRule(file + "C_bias", [new(model + "c_bias")], Stored: [spec.Heads, 1, spec.StateSize]),
    ];
}
