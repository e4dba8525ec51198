using System.Text.Json.Nodes;
using HybridArchitectures.Design;

namespace HybridArchitectures.Checkpoints;

/// <summary>
/// Implements the dense models of Qwen3 (arXiv 2505.09388): attention with norms of queries and keys, over a sliding window in some layers if the
/// configuration says so.
/// </summary>
sealed class Qwen3Family() : PretrainedFamily("qwen3", "Qwen3ForCausalLM", skipsPadding: true)
{
    private protected override HybridDesign Read(PretrainedConfig config)
    {
        int width = config.Int("hidden_size"), depth = config.Depth("num_hidden_layers"), heads = config.Int("num_attention_heads", 32);
        double epsilon = config.Double("rms_norm_eps", 1e-6);
        bool bias = config.Flag("attention_bias", false);
        var attention = new AttentionSpec
        {
            Heads = heads, KeyValueHeads = config.KeyValueHeads(heads, 32), HeadSize = config.Int("head_dim", 128), QkNorm = true,
            InputBias = bias, OutputBias = bias, Rotary = config.Rotary(),
        };
        int? window = config.Flag("use_sliding_window", false) ? config.Window(4096) : null;
        int first = config.Int("max_window_layers", 28);
        bool[] slides = config.Slides(depth, i => window is not null && i >= first);
        var feedForward = new SwiGluSpec(config.Int("intermediate_size")) { Activation = config.Activation("hidden_act", "silu") };
        return new HybridDesign
        {
            Name = ModelType, VocabularySize = config.Int("vocab_size"), Width = width, NormEpsilon = epsilon,
            TiedHead = config.Flag("tie_word_embeddings", false),
            Blocks = Blocks(depth, i => new()
            {
                Mixer = slides[i] ? attention with { Window = window } : attention, FeedForward = feedForward, NormEpsilon = epsilon,
            }),
        };
    }

    private protected override IReadOnlyCollection<string> Unused => ["sliding_window"];

    private protected override void Write(HybridDesign design, JsonObject config)
    {
        WriteTransformer(design, config);
        WriteRotary(config, First<AttentionSpec>(design).Rotary);
        int? window = WriteWindows(design, config);
        config["use_sliding_window"] = window is not null;
        config["max_window_layers"] = design.Depth;
    }

    internal override IEnumerable<TensorChoice> Tensors(HybridDesign design) => TensorRules.Transformer(design);
}
