using System.Text.Json.Nodes;
using HybridArchitectures.Design;
using static TorchSharp.torch;

namespace HybridArchitectures.Checkpoints;

/// <summary>
/// Implements RecurrentGemma (arXiv 2404.07839): RG-LRU blocks and sliding-window attention with partial rotary positions, GELU feed-forwards with
/// biases, zero-centered norms, multiplied embeddings, and soft-capped logits.
/// </summary>
sealed class RecurrentGemmaFamily() : PretrainedFamily("recurrent_gemma", "RecurrentGemmaForCausalLM", skipsPadding: true, paddingId: 0)
{
    const string Recurrent = "recurrent", Attends = "attention";

    private protected override HybridDesign Read(PretrainedConfig config)
    {
        int width = config.Int("hidden_size"), depth = config.Depth("num_hidden_layers"), heads = config.Int("num_attention_heads", 10);
        double epsilon = config.Double("rms_norm_eps", 1e-6);
        int inner = config.Int("intermediate_size");
        if (inner % 2 != 0) throw config.Refusal("intermediate_size", inner, "an even number, because each projection has half of it");
        int window = config.Int("attention_window_size", 2048);
        if (window < 1) throw config.Refusal("attention_window_size", window, "at least 1");
        config.NoWindow();
        config.Only("embeddings_scale_by_sqrt_dim", true);
        var activation = config.Activation(config.Spelling("hidden_activation", "hidden_act"), "gelu_pytorch_tanh");
        var attention = new AttentionSpec
        {
            Heads = heads, KeyValueHeads = config.KeyValueHeads(heads, heads), HeadSize = config.HeadSize(width, heads), Window = window,
            Rotary = config.Rotary(10_000, fraction: 0.5), InputBias = config.Flag("attention_bias", false), OutputBias = true,
        };
        var recurrent = new RgLruSpec
        {
            Heads = heads, InnerWidth = config.Int("lru_width", width), ConvolutionWidth = config.Int("conv1d_width", 4), Activation = activation,
        };
        bool[] attends = Layers(config, depth);
        var feedForward = new SwiGluSpec(inner / 2) { Activation = activation, Bias = true };
        return new HybridDesign
        {
            Name = ModelType, VocabularySize = config.Int("vocab_size"), Width = width, NormEpsilon = epsilon, ZeroCenteredNorms = true,
            TiedHead = config.Flag("tie_word_embeddings", true), EmbeddingScale = EmbeddingScale(width),
            LogitCap = config.IsNull("logits_soft_cap") ? null : config.Double("logits_soft_cap", 30),
            Blocks = Blocks(depth, i => new() { Mixer = attends[i] ? attention : recurrent, FeedForward = feedForward, NormEpsilon = epsilon }),
        };
    }

    // the types of the first layers, which are repeated
    static bool[] Layers(PretrainedConfig config, int depth)
    {
        var words = config.Texts(config.Spelling("block_types", "_block_types")) ?? [Recurrent, Recurrent, Attends];
        bool[] attends = [.. words.Select(word => word switch
        {
            Attends => true,
            Recurrent => false,
            _ => throw config.Refusal("block_types", word, $"{Recurrent} or {Attends}"),
        })];
        return [.. Enumerable.Range(0, depth).Select(i => attends[i % attends.Length])];
    }

    // the square root of the width, rounded to bfloat16
    static double EmbeddingScale(int width)
    {
        using var root = tensor(Math.Sqrt(width), ScalarType.Float64);
        using var rounded = root.to(ScalarType.BFloat16);
        using var exact = rounded.to(ScalarType.Float64);
        return exact.item<double>();
    }

    // initial values
    private protected override IReadOnlyCollection<string> Unused => ["w_init_variance_scale", "final_w_init_variance_scale", "layers_block_type"];

    private protected override void Write(HybridDesign design, JsonObject config)
    {
        var feedForward = FirstFeedForward<SwiGluSpec>(design) ?? throw Unfit("no gated feed-forward", "one in every block");
        // both kinds have the same number of heads
        int heads = FirstOrNone<RgLruSpec>(design)?.Heads ?? First<AttentionSpec>(design).Heads;
        var recurrent = FirstOr(design, new RgLruSpec { Heads = heads, InnerWidth = heads, Activation = feedForward.Activation });
        var attention = FirstOr(design, new AttentionSpec
        {
            Heads = heads, HeadSize = Math.Max(1, design.Width / heads), Rotary = new() { Theta = 10_000, Fraction = 0.5 }, Window = 2048,
        });
        if (attention.Window is not { } window) throw Unfit("attention over all tokens", "a window in every attention");
        config["num_hidden_layers"] = design.Depth;
        config["rms_norm_eps"] = design.NormEpsilon;
        WriteAttention(config, attention);
        config["attention_window_size"] = window;
        WriteRotary(config, attention.Rotary, withFraction: true);
        config["lru_width"] = recurrent.InnerWidth;
        config["conv1d_width"] = recurrent.ConvolutionWidth;
        config["hidden_activation"] = HuggingFaceNames.FromActivation(recurrent.Activation);
        config["intermediate_size"] = checked(2 * feedForward.Width);
        config["logits_soft_cap"] = design.LogitCap;
        config["block_types"] = new JsonArray([.. Period([.. design.Blocks.Select(block => block.Mixer is AttentionSpec ? Attends : Recurrent)])
            .Select(word => JsonValue.Create(word))]);
    }

    // the shortest list that the layers repeat
    static string[] Period(string[] words)
    {
        int length = Enumerable.Range(1, words.Length).First(count => Enumerable.Range(0, words.Length).All(i => words[i] == words[i % count]));
        return words[..length];
    }

    internal override IEnumerable<TensorChoice> Tensors(HybridDesign design)
    {
        foreach (var rule in TensorRules.EmbeddingNormHead(design, "model.embed_tokens.weight", "model.final_norm.weight")) yield return rule;
        for (int i = 0; i < design.Depth; i++)
        {
            string file = $"model.layers.{i}.", model = Block(i);
            yield return TensorRules.Rename(file + "temporal_pre_norm.weight", model + "mixer_norm.weight");
            yield return TensorRules.Rename(file + "channel_pre_norm.weight", model + "feed_forward_norm.weight");
            var mixer = design.Blocks[i].Mixer is AttentionSpec attention
                ? TensorRules.Attention(file + "temporal_block.", model + "mixer.", attention)
                : RecurrentRules(file + "temporal_block.", model + "mixer.");
            var feedForward = TensorRules.SwiGlu(file + "mlp_block.", model + "feed_forward.", (SwiGluSpec)design.Blocks[i].FeedForward);
            foreach (var rule in mixer.Concat(feedForward)) yield return rule;
        }
    }

    static IEnumerable<TensorChoice> RecurrentRules(string file, string model) =>
    [
        .. TensorRules.Linear(file + "linear_x", model + "input", bias: true), .. TensorRules.Linear(file + "linear_y", model + "gate", bias: true),
        .. TensorRules.Linear(file + "linear_out", model + "output", bias: true),
        .. TensorRules.ConvolutionFilter(file + "conv_1d", model, bias: true),
        TensorRules.Rename(file + "rg_lru.recurrent_param", model + "decay"),
        TensorRules.Rename(file + "rg_lru.input_gate_weight", model + "input_gate_weight"),
        TensorRules.Rename(file + "rg_lru.input_gate_bias", model + "input_gate_bias"),
        TensorRules.Rename(file + "rg_lru.recurrent_gate_weight", model + "recurrence_gate_weight"),
        TensorRules.Rename(file + "rg_lru.recurrent_gate_bias", model + "recurrence_gate_bias"),
    ];
}
