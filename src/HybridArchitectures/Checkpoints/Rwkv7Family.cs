using System.Text.Json.Nodes;
using HybridArchitectures.Design;

namespace HybridArchitectures.Checkpoints;

/// <summary>
/// Implements RWKV-7 (arXiv 2503.14456) as flash-linear-attention stores it: LayerNorms, also after the embedding, time mixing in which later layers
/// read the values of the first one, and channel mixing with a token shift.
/// </summary>
sealed class Rwkv7Family() : PretrainedFamily("rwkv7", "RWKV7ForCausalLM", skipsPadding: true)
{
    // the epsilons of removals with fused norms and without; the latter only keeps a division by zero away
    const double FusedEpsilon = 1e-6, PlainEpsilon = 1e-24;

    const int DefaultValueRank = 16;

    static readonly (string Word, Activation Value)[] activations =
        [("sqrelu", Activation.ReluSquared), ("relu", Activation.Relu), ("silu", Activation.Silu), ("swish", Activation.Silu),
            ("gelu", Activation.GeluTanh)];

    // the names of the shift, in the order of its rows in a model
    static readonly string[] shifts = ["x_r", "x_w", "x_k", "x_v", "x_a", "x_g"];

    private protected override HybridDesign Read(PretrainedConfig config)
    {
        int width = config.Int("hidden_size", 2048), depth = config.Depth("num_hidden_layers");
        double epsilon = config.Double("norm_eps", 1e-5);
        config.Only("norm_bias", true);
        if (config.Has("attn"))
            throw config.Refusal("attn", config.Value("attn"), "null, because rwkv7 of flash-linear-attention cannot run with attention layers");
        RequireWholeValues(config, width);
        var mixer = ReadMixer(config, width, epsilon);
        int rank = Rank(config, "v_low_rank_dim", DefaultValueRank, 1.7 * mixer.HeadSize / 64, width);
        var feedForward = new MlpSpec(FeedForwardWidth(config, width)) { Activation = ReadActivation(config), TokenShift = true };
        return new HybridDesign
        {
            Name = ModelType, VocabularySize = config.Int("vocab_size", 32_000), Width = width, NormEpsilon = epsilon,
            NormKind = NormKind.LayerNorm, EmbeddingNorm = config.Flag("norm_first", true),
            TiedHead = config.Flag("tie_word_embeddings", false),
            Blocks = Blocks(depth, i => new()
            {
                Mixer = mixer with { ValueRank = i == 0 ? null : rank }, FeedForward = feedForward, NormEpsilon = epsilon,
            }),
        };
    }

    static Rwkv7Spec ReadMixer(PretrainedConfig config, int width, double epsilon)
    {
        // the size takes precedence
        bool hasSize = !config.IsNull("head_dim");
        int size = hasSize ? config.Int("head_dim", 64) : 0;
        if (hasSize && (size < 1 || width % size != 0)) throw config.Refusal("head_dim", size, $"a divisor of hidden_size = {width}");
        int heads = hasSize ? width / size : config.Int("num_heads");
        if (heads < 1 || width % heads != 0) throw config.Refusal("num_heads", heads, $"a divisor of hidden_size = {width}");
        config.Agree("num_heads", heads, "hidden_size / head_dim says");
        size = width / heads;
        double share = size / 64.0;
        return new()
        {
            Heads = heads, HeadSize = size, OutputNormEpsilon = size * epsilon,
            DecayRank = Rank(config, "decay_low_rank_dim", 64, 2.5 * share, width), RateRank = Rank(config, "a_low_rank_dim", 64, 2.5 * share, width),
            GateRank = Rank(config, "gate_low_rank_dim", 128, 5, width),
            RemovalEpsilon = config.Flag("fuse_norm", true) ? FusedEpsilon : PlainEpsilon,
        };
    }

    // an absent rank has a default; one that is null follows from the width
    static int Rank(PretrainedConfig config, string key, int otherwise, double multiplier, int width) => config.IsNull(key)
        ? Math.Max(32, (int)Math.Round(multiplier * Math.Sqrt(width) / 32) * 32) : config.Int(key, otherwise);

    // one number for all layers, or one for each
    static void RequireWholeValues(PretrainedConfig config, int width)
    {
        if (!config.Has("value_dim")) return;
        bool fits = config.Value("value_dim") is System.Text.Json.JsonElement { ValueKind: System.Text.Json.JsonValueKind.Number }
            ? config.Int("value_dim") == width : config.Numbers("value_dim")!.All(size => size == width);
        if (!fits) throw config.Refusal("value_dim", config.Value("value_dim"), $"hidden_size = {width} in every layer");
    }

    // the width times a ratio, rounded up to a multiple of 32
    static int FeedForwardWidth(PretrainedConfig config, int width)
    {
        double ratio = config.Double("hidden_ratio", 4);
        return config.Has("intermediate_size") ? config.Int("intermediate_size") : checked((int)(((long)(width * ratio) + 31) / 32 * 32));
    }

    static Activation ReadActivation(PretrainedConfig config)
    {
        string word = config.Text("hidden_act") ?? activations[0].Word;
        int index = Array.FindIndex(activations, one => one.Word == word);
        return index >= 0 ? activations[index].Value
            : throw config.Refusal("hidden_act", word, $"one of {string.Join(", ", activations.Select(one => one.Word))}");
    }

    private protected override IReadOnlyCollection<string> Unused => [.. FlaFamily.Kernels, "hidden_ratio"];

    private protected override void Write(HybridDesign design, JsonObject config)
    {
        var mixer = First<Rwkv7Spec>(design);
        var feedForward = FirstFeedForward<MlpSpec>(design) ?? throw Unfit("no plain feed-forward", "one with a token shift in every block");
        config["num_hidden_layers"] = design.Depth;
        config["norm_eps"] = design.NormEpsilon;
        config["norm_first"] = design.EmbeddingNorm;
        config["norm_bias"] = true;
        config["head_dim"] = mixer.HeadSize;
        config["num_heads"] = mixer.Heads;
        config["value_dim"] = design.Width;
        config["decay_low_rank_dim"] = mixer.DecayRank;
        config["a_low_rank_dim"] = mixer.RateRank;
        config["gate_low_rank_dim"] = mixer.GateRank;
        int? valueRank = design.Blocks.Select(block => (block.Mixer as Rwkv7Spec)?.ValueRank).FirstOrDefault(rank => rank is not null);
        config["v_low_rank_dim"] = valueRank ?? DefaultValueRank;
        config["fuse_norm"] = mixer.RemovalEpsilon != PlainEpsilon;
        config["intermediate_size"] = feedForward.Width;
        int word = Array.FindIndex(activations, one => one.Value == feedForward.Activation);
        config["hidden_act"] = word >= 0 ? activations[word].Word : throw Unfit($"the nonlinearity {feedForward.Activation}", "one that rwkv7 has");
        config["attn"] = null;
    }

    internal override IEnumerable<TensorChoice> Tensors(HybridDesign design)
    {
        foreach (var rule in TensorRules.EmbeddingNormHead(design, "model.embeddings.weight", "model.norm.weight")) yield return rule;
        yield return TensorRules.Rename("model.norm.bias", "stack.norm.bias");
        if (design.EmbeddingNorm)
            foreach (var rule in TensorRules.Linear("model.layers.0.pre_norm", "stack.embedding_norm", bias: true)) yield return rule;
        for (int i = 0; i < design.Depth; i++)
        {
            string file = $"model.layers.{i}.", model = Block(i);
            TensorChoice[] rules =
            [
                .. TensorRules.Linear(file + "attn_norm", model + "mixer_norm", bias: true),
                .. TensorRules.Linear(file + "ffn_norm", model + "feed_forward_norm", bias: true),
                .. MixerRules(file + "attn.", model + "mixer.", (Rwkv7Spec)design.Blocks[i].Mixer!, design.Width),
                TensorRules.Rename(file + "ffn.x_k", model + "feed_forward.mix"),
                TensorRules.Rename(file + "ffn.key.weight", model + "feed_forward.up.weight"),
                TensorRules.Rename(file + "ffn.value.weight", model + "feed_forward.down.weight"),
            ];
            foreach (var rule in rules) yield return rule;
        }
    }

    static IEnumerable<TensorChoice> MixerRules(string file, string model, Rwkv7Spec spec, int width)
    {
        IReadOnlyList<TensorRule> each =
            [.. shifts.Select((name, row) => new TensorRule(file + name, [new(model + "mix", Rows: new(1, row, 1))], Stored: [1, 1, width]))];
        // older files have one tensor
        yield return new TensorChoice(each, [TensorRules.Rename(file + "x_x", model + "mix")]);
        yield return TensorRules.Rename(file + "k_k", model + "removal_scale");
        yield return TensorRules.Rename(file + "k_a", model + "replacement_scale");
        yield return new TensorRule(file + "r_k", [new(model + "bonus_scale")], Stored: [spec.Heads, spec.HeadSize]);
        foreach (var (name, projection) in new[] { ("r", "query"), ("k", "key"), ("v", "value"), ("o", "output") })
            yield return TensorRules.Rename($"{file}{name}_proj.weight", $"{model}{projection}.weight");
        foreach (var (name, part) in new[] { ("w", "decay"), ("a", "rate"), ("g", "gate"), ("v", "value") })
        {
            if (part == "value" && spec.ValueRank is null) continue;
            yield return TensorRules.Rename($"{file}{name}_lora.lora.0.weight", $"{model}{part}_down.weight");
            yield return TensorRules.Rename($"{file}{name}_lora.lora.2.weight", $"{model}{part}_up.weight");
            if (part != "gate") yield return TensorRules.Rename($"{file}{name}_lora.lora.2.bias", $"{model}{part}_bias");
        }
        yield return TensorRules.Rename(file + "g_norm.weight", model + "norm_weight");
        yield return TensorRules.Rename(file + "g_norm.bias", model + "norm_bias");
    }
}
