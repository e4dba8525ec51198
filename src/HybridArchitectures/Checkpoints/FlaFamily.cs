using System.Text.Json.Nodes;
using HybridArchitectures.Design;

namespace HybridArchitectures.Checkpoints;

/// <summary>
/// Provides the base of the families of flash-linear-attention. Every layer has a linear mixer, or softmax attention if <c>attn</c> lists the layer,
/// followed by a SwiGLU. The tensor names are the same in all families. Derived families map the mixer.
/// </summary>
abstract class FlaFamily(string modelType, string architecture) : PretrainedFamily(modelType, architecture, skipsPadding: true)
{
    /// <summary>Reads the linear mixer.</summary>
    private protected abstract MixerSpec ReadMixer(PretrainedConfig config, int width);

    /// <summary>Writes the linear mixer of the first layer that has one; null if all layers are attention.</summary>
    private protected abstract void WriteMixer(HybridDesign design, JsonObject config);

    /// <summary>Returns the tensors of the linear mixer.</summary>
    private protected abstract IEnumerable<TensorChoice> MixerRules(string file, string model, MixerSpec spec);

    private protected override HybridDesign Read(PretrainedConfig config)
    {
        int width = config.Int("hidden_size"), depth = config.Depth("num_hidden_layers");
        double epsilon = config.Double(config.Spelling("norm_eps", "rms_norm_eps"), 1e-6);
        config.Only("hidden_act", "swish");
        var mixer = ReadMixer(config, width);
        var attention = ReadAttention(config, width, depth);
        var feedForward = new SwiGluSpec(FeedForwardWidth(config, width));
        return new HybridDesign
        {
            Name = ModelType, VocabularySize = config.Int("vocab_size", 32_000), Width = width, NormEpsilon = epsilon,
            TiedHead = config.Flag("tie_word_embeddings", false),
            Blocks = Blocks(depth, i => new() { Mixer = attention[i] ?? mixer, FeedForward = feedForward, NormEpsilon = epsilon }),
        };
    }

    // two thirds of the width times a ratio, rounded up to a multiple of 256
    static int FeedForwardWidth(PretrainedConfig config, int width)
    {
        double ratio = config.Double("hidden_ratio", 4);
        if (config.Has("intermediate_size")) return config.Int("intermediate_size");
        long wanted = (long)(width * ratio * 2 / 3);
        return checked((int)((wanted + 255) / 256 * 256));
    }

    // one section, or several for layers with different attention
    static AttentionSpec?[] ReadAttention(PretrainedConfig config, int width, int depth)
    {
        var layers = new AttentionSpec?[depth];
        foreach (var section in config.Sections("attn"))
        {
            section.OnlyKeys(["layers", "num_heads", "num_kv_heads", "qkv_bias", "window_size", "rope_theta"], "in attn");
            int heads = section.Int("num_heads");
            var attention = new AttentionSpec
            {
                Heads = heads, KeyValueHeads = section.Int("num_kv_heads", heads), InputBias = section.Flag("qkv_bias", false),
                HeadSize = heads >= 1 && width % heads == 0 ? width / heads
                    : throw section.Refusal("num_heads", heads, $"a divisor of hidden_size = {width}"),
                Window = section.Has("window_size") ? section.Int("window_size") : null,
                Rotary = new() { Theta = section.Double("rope_theta", 10_000) },
            };
            foreach (double layer in section.Numbers("layers") ?? throw section.Refusal("layers", null, "a list of layers"))
            {
                if (layer < 0 || layer >= depth || layer != Math.Floor(layer) || layers[(int)layer] is not null)
                    throw section.Refusal("layers", layer, $"whole numbers from 0 to {depth - 1}, each once");
                layers[(int)layer] = attention;
            }
        }
        return layers;
    }

    /// <summary>
    /// Returns whether flash-linear-attention wrote a configuration of Mamba-1 or Mamba-2: the tensors are those of transformers, and some settings
    /// have other names and defaults.
    /// </summary>
    internal static bool Wrote(PretrainedConfig config) => config.Has("norm_eps") && !config.Has("layer_norm_epsilon");

    /// <summary>Settings that say which kernels compute a model or its loss.</summary>
    internal static readonly string[] Kernels =
        ["attn_mode", "fuse_norm", "fuse_swiglu", "fuse_cross_entropy", "fuse_linear_cross_entropy", "use_l2warp"];

    private protected override IReadOnlyCollection<string> Unused => [.. Kernels, "hidden_ratio"];

    private protected override void Write(HybridDesign design, JsonObject config)
    {
        var feedForward = FirstFeedForward<SwiGluSpec>(design) ?? throw Unfit("no SwiGLU", "one in every block");
        config["num_hidden_layers"] = design.Depth;
        config["norm_eps"] = design.NormEpsilon;
        config["intermediate_size"] = feedForward.Width;
        config["hidden_act"] = "swish";
        config["attn"] = WriteAttention(design);
        WriteMixer(design, config);
    }

    static JsonNode? WriteAttention(HybridDesign design)
    {
        var sections = design.Blocks.Select((block, layer) => (block.Mixer, layer)).Where(one => one.Mixer is AttentionSpec)
            .GroupBy(one => (AttentionSpec)one.Mixer!).Select(group => Section(group.Key, group.Select(one => one.layer))).ToArray();
        return sections.Length switch
        {
            0 => null,
            1 => sections[0],
            _ => new JsonArray([.. sections]),
        };
    }

    static JsonObject Section(AttentionSpec attention, IEnumerable<int> layers) => new()
    {
        ["layers"] = new JsonArray([.. layers.Select(layer => JsonValue.Create(layer))]),
        ["num_heads"] = attention.Heads,
        ["num_kv_heads"] = attention.KeyValueHeads,
        ["qkv_bias"] = attention.InputBias,
        ["window_size"] = attention.Window,
        ["rope_theta"] = (attention.Rotary ?? throw Unfit("attention without positions", "rotary positions")).Theta,
    };

    internal override IEnumerable<TensorChoice> Tensors(HybridDesign design)
    {
        foreach (var rule in TensorRules.EmbeddingNormHead(design, "model.embeddings.weight", "model.norm.weight")) yield return rule;
        for (int i = 0; i < design.Depth; i++)
        {
            string file = $"model.layers.{i}.", model = Block(i);
            yield return TensorRules.Rename(file + "attn_norm.weight", model + "mixer_norm.weight");
            yield return TensorRules.Rename(file + "mlp_norm.weight", model + "feed_forward_norm.weight");
            var mixer = design.Blocks[i].Mixer is AttentionSpec attention ? TensorRules.Attention(file + "attn.", model + "mixer.", attention)
                : MixerRules(file + "attn.", model + "mixer.", design.Blocks[i].Mixer!);
            foreach (var rule in mixer.Concat(FeedForward(file + "mlp.", model + "feed_forward."))) yield return rule;
        }
    }

    // files of 2024 have gate and up in one tensor
    static IEnumerable<TensorChoice> FeedForward(string file, string model)
    {
        TensorRule[] apart = [TensorRules.Rename(file + "gate_proj.weight", model + "gate.weight"),
            TensorRules.Rename(file + "up_proj.weight", model + "up.weight")];
        yield return new(apart, [new(file + "gate_proj.weight", [new(model + "gate.weight"), new(model + "up.weight")])]);
        yield return TensorRules.Rename(file + "down_proj.weight", model + "down.weight");
    }

    /// <summary>Refuses layers without short convolutions.</summary>
    private protected static void RequireConvolution(PretrainedConfig config) => config.Only("use_short_conv", true);

    /// <summary>Returns a width times a factor, rounded down; refused if the heads do not divide it.</summary>
    private protected static int HeadSize(PretrainedConfig config, string key, double otherwise, int width, int heads)
    {
        int expanded = checked((int)(config.Double(key, otherwise) * width));
        return heads >= 1 && expanded > 0 && expanded % heads == 0 ? expanded / heads
            : throw config.Refusal(key, config.Value(key), $"a factor of the width {width} whose product {heads} heads divide");
    }
}
