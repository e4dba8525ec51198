using System.Text.Json.Nodes;
using HybridArchitectures.Design;

namespace HybridArchitectures.Checkpoints;

/// <summary>Implements Mistral (arXiv 2310.06825): attention without biases, over a sliding window in the first version.</summary>
sealed class MistralFamily() : PretrainedFamily("mistral", "MistralForCausalLM", skipsPadding: true)
{
    private protected override HybridDesign Read(PretrainedConfig config)
    {
        int width = config.Int("hidden_size"), heads = config.Int("num_attention_heads");
        double epsilon = config.Double("rms_norm_eps", 1e-6);
        var block = new BlockSpec
        {
            Mixer = new AttentionSpec
            {
                Heads = heads, KeyValueHeads = config.KeyValueHeads(heads, 8), HeadSize = config.HeadSize(width, heads), Rotary = config.Rotary(),
                Window = config.Window(4096),
            },
            FeedForward = new SwiGluSpec(config.Int("intermediate_size")) { Activation = config.Activation("hidden_act", "silu") },
            NormEpsilon = epsilon,
        };
        return new HybridDesign
        {
            Name = ModelType, VocabularySize = config.Int("vocab_size"), Width = width,
            Blocks = Blocks(config.Depth("num_hidden_layers"), _ => block),
            TiedHead = config.Flag("tie_word_embeddings", false), NormEpsilon = epsilon,
        };
    }

    private protected override void Write(HybridDesign design, JsonObject config)
    {
        var attention = First<AttentionSpec>(design);
        WriteTransformer(design, config);
        config.Remove("attention_bias");
        WriteRotary(config, attention.Rotary);
        config["sliding_window"] = attention.Window;
    }

    internal override IEnumerable<TensorChoice> Tensors(HybridDesign design) => TensorRules.Transformer(design);
}
