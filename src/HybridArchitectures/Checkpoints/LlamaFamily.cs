using System.Text.Json.Nodes;
using HybridArchitectures.Design;

namespace HybridArchitectures.Checkpoints;

/// <summary>Implements Llama 2 and 3 (arXiv 2407.21783).</summary>
sealed class LlamaFamily() : PretrainedFamily("llama", "LlamaForCausalLM", skipsPadding: true)
{
    private protected override HybridDesign Read(PretrainedConfig config)
    {
        int width = config.Int("hidden_size"), heads = config.Int("num_attention_heads");
        double epsilon = config.Double("rms_norm_eps", 1e-6);
        bool bias = config.Flag("attention_bias", false);
        config.NoWindow();
        var block = new BlockSpec
        {
            Mixer = new AttentionSpec
            {
                Heads = heads,
                KeyValueHeads = config.Int("num_key_value_heads", heads),
                HeadSize = config.HeadSize(width, heads),
                Rotary = config.Rotary(),
                InputBias = bias,
                OutputBias = bias,
            },
            FeedForward = new SwiGluSpec(config.Int("intermediate_size")) { Activation = config.Activation("hidden_act", "silu"),
                Bias = config.Flag("mlp_bias", false) },
            NormEpsilon = epsilon,
        };
        return new HybridDesign
        {
            Name = ModelType, VocabularySize = config.Int("vocab_size"), Width = width,
            Blocks = Blocks(config.Depth("num_hidden_layers"), _ => block),
            TiedHead = config.Flag("tie_word_embeddings", false), NormEpsilon = epsilon,
        };
    }

    private protected override IReadOnlyCollection<string> Unused => ["is_llama_config"];

    private protected override void Write(HybridDesign design, JsonObject config)
    {
        var attention = First<AttentionSpec>(design);
        var feedForward = FirstFeedForward<SwiGluSpec>(design) ?? throw Unfit("no SwiGLU", "one in every block");
        config["num_hidden_layers"] = design.Depth;
        config["rms_norm_eps"] = design.NormEpsilon;
        WriteAttention(config, attention);
        WriteRotary(config, attention.Rotary);
        config["intermediate_size"] = feedForward.Width;
        config["hidden_act"] = HuggingFaceNames.FromActivation(feedForward.Activation);
        config["mlp_bias"] = feedForward.Bias;
    }

    internal override IEnumerable<TensorChoice> Tensors(HybridDesign design) => TensorRules.Transformer(design);
}
