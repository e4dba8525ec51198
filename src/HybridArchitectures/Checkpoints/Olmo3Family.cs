using System.Text.Json.Nodes;
using HybridArchitectures.Design;

namespace HybridArchitectures.Checkpoints;

/// <summary>
/// Implements Olmo 3 (arXiv 2512.13961): sliding-window and full attention with separate rotary positions, norms of all heads of queries and keys
/// together, and norms after mixer and feed-forward.
/// </summary>
sealed class Olmo3Family() : PretrainedFamily("olmo3", "Olmo3ForCausalLM", skipsPadding: true, paddingId: 1)
{
    const int DefaultWindow = 4096;

    private protected override HybridDesign Read(PretrainedConfig config)
    {
        int width = config.Int("hidden_size"), depth = config.Depth("num_hidden_layers"), heads = config.Int("num_attention_heads");
        double epsilon = config.Double("rms_norm_eps", 1e-5);
        bool bias = config.Flag("attention_bias", false);
        var attention = new AttentionSpec
        {
            Heads = heads, KeyValueHeads = config.KeyValueHeads(heads, heads), HeadSize = config.HeadSize(width, heads),
            QkNorm = true, QkNormAcrossHeads = true, InputBias = bias, OutputBias = bias,
        };
        var (full, sliding) = config.RotaryByLayer(10_000);
        bool[] slides = config.Slides(depth, i => (i + 1) % 4 != 0);
        int? window = slides.Contains(true) ? config.Window(DefaultWindow) : null;
        var feedForward = new SwiGluSpec(config.Int("intermediate_size")) { Activation = config.Activation("hidden_act", "silu") };
        return new HybridDesign
        {
            Name = ModelType, VocabularySize = config.Int("vocab_size"), Width = width, NormEpsilon = epsilon,
            TiedHead = config.Flag("tie_word_embeddings", false),
            Blocks = Blocks(depth, i => new()
            {
                Mixer = slides[i] ? attention with { Rotary = sliding(), Window = window } : attention with { Rotary = full() },
                FeedForward = feedForward, NormEpsilon = epsilon, Norms = NormPlacement.After,
            }),
        };
    }

    private protected override IReadOnlyCollection<string> Unused => ["sliding_window"];

    private protected override void Write(HybridDesign design, JsonObject config)
    {
        WriteTransformer(design, config);
        // transformers requires a window even if no layer uses it
        config["sliding_window"] = WriteWindows(design, config) ?? DefaultWindow;
        var attentions = design.Blocks.Select(block => block.Mixer).OfType<AttentionSpec>().ToArray();
        if (attentions[0].HeadSize * attentions[0].Heads == design.Width) config.Remove("head_dim");
        RotarySpec Of(bool slides) => (attentions.FirstOrDefault(one => one.Window is not null == slides) ?? attentions[0]).Rotary
            ?? throw Unfit("attention without positions", "rotary positions");
        config["rope_parameters"] = new JsonObject
        {
            [PretrainedConfig.FullLayer] = RotaryParameters(Of(false)), [PretrainedConfig.SlidingLayer] = RotaryParameters(Of(true)),
        };
    }

    internal override IEnumerable<TensorChoice> Tensors(HybridDesign design) =>
        TensorRules.Transformer(design, "post_attention_layernorm", "post_feedforward_layernorm");
}
