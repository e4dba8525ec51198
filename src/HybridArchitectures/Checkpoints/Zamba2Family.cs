using System.Text.Json.Nodes;
using HybridArchitectures.Design;

namespace HybridArchitectures.Checkpoints;

/// <summary>
/// Implements Zamba2 (arXiv 2411.15242): Mamba-2 layers, some of which are preceded by one of a few shared transformers that read the residual stream
/// and the embedded tokens.
/// </summary>
sealed class Zamba2Family() : PretrainedFamily("zamba2", "Zamba2ForCausalLM", skipsPadding: true, paddingId: 0)
{
    // transformers ignores the epsilon of the configuration here
    const double GatedNormEpsilon = 1e-5;

    // the context of published models is longer than that of their training by this factor
    const double LongContextFactor = 8;

    private protected override HybridDesign Read(PretrainedConfig config)
    {
        int width = config.Int("hidden_size");
        double epsilon = config.Double("rms_norm_eps", 1e-5);
        config.Only("gated_linear_unit", true);
        config.NoWindow();
        var mamba = Mamba(config, width);
        bool[] hybrid = Hybrid(config);
        int uses = hybrid.Count(isHybrid => isHybrid);
        // transformers ties shared weights if it ties the head; otherwise, every use has separate weights
        bool tied = config.Flag("tie_word_embeddings", true);
        int transformers = tied ? Math.Min(config.Int("num_mem_blocks", 1), uses) : uses;
        if (uses > 0 && transformers < 1) throw config.Refusal("num_mem_blocks", transformers, "at least 1");
        var transformer = Transformer(config, width) with { NormEpsilon = epsilon };
        int rank = config.Int("adapter_rank", 128), use = 0;
        var adapted = new SharedTransformerUse
        {
            AttentionAdapterRank = config.Flag("use_shared_attention_adapter", false) ? rank : 0, FeedForwardAdapterRank = rank,
        };
        return new HybridDesign
        {
            Name = ModelType, VocabularySize = config.Int("vocab_size"), Width = width, TiedHead = tied, NormEpsilon = epsilon,
            SharedTransformers = [.. Enumerable.Repeat(transformer, transformers)],
            Blocks = Blocks(hybrid.Length, i => new()
            {
                Mixer = mamba, Shared = hybrid[i] ? adapted with { Transformer = use++ % transformers } : null, NormEpsilon = epsilon,
            }),
        };
    }

    static Mamba2Spec Mamba(PretrainedConfig config, int width)
    {
        int groups = config.Int("mamba_ngroups", 1), heads = config.Int("n_mamba_heads", 8);
        return new()
        {
            Heads = heads,
            HeadSize = MambaHeadSize(config, width, heads),
            StateSize = config.Int("mamba_d_state", 64),
            Groups = groups,
            NormGroups = groups,
            GatedNormEpsilon = GatedNormEpsilon,
            ConvolutionWidth = config.Int("mamba_d_conv", 4),
            ProjectionBias = config.Flag("add_bias_linear", false),
            ChunkSize = Chunk(config, "chunk_size", 256),
            TimeStepLimit = config.TimeStepLimit("time_step_limit", "time_step_min"),
        };
    }

    static SharedTransformerSpec Transformer(PretrainedConfig config, int width)
    {
        int heads = config.Int("num_attention_heads", 32), headSize = HeadSize(config, width, heads);
        return new()
        {
            Attention = new()
            {
                Heads = heads, KeyValueHeads = config.Int("num_key_value_heads", heads), HeadSize = headSize, Scale = Math.Sqrt(2.0 / headSize),
                Rotary = config.Flag("use_mem_rope", false) ? Rotary(config, headSize) : null,
            },
            FeedForward = new(config.Int("intermediate_size", checked(4 * width)))
            {
                Activation = config.Activation("hidden_act", "gelu"), Bias = config.Flag("add_bias_linear", false),
            },
        };
    }

    static int MambaHeadSize(PretrainedConfig config, int width, int heads)
    {
        int inner = Expanded(config, "mamba_expand", width);
        if (heads < 1 || inner % heads != 0) throw config.Refusal("n_mamba_heads", heads, $"a divisor of mamba_expand x hidden_size = {inner}");
        config.Agree("mamba_headdim", inner / heads, "mamba_expand x hidden_size / n_mamba_heads says");
        return inner / heads;
    }

    // attention reads the residual stream and the embedded tokens
    static int HeadSize(PretrainedConfig config, int width, int heads)
    {
        int both = checked(2 * width);
        if (heads < 1 || both % heads != 0) throw config.Refusal("num_attention_heads", heads, $"a divisor of 2 x hidden_size = {both}");
        config.Agree("attention_hidden_size", both, "2 x hidden_size says");
        config.Agree("attention_head_dim", both / heads, "2 x hidden_size / num_attention_heads says");
        return both / heads;
    }

    // the authors' code scales the base for long contexts, as transformers did before version 5
    static RotarySpec Rotary(PretrainedConfig config, int headSize)
    {
        var rotary = config.Rotary();
        if (!config.Flag("use_long_context", false) || config.FollowsTransformers || headSize <= 2) return rotary;
        return rotary with { Theta = rotary.Theta * Math.Pow(LongContextFactor, headSize / (headSize - 2.0)) };
    }

    static bool[] Hybrid(PretrainedConfig config)
    {
        var words = config.Texts(config.Spelling("layers_block_type", "layer_types"));
        int depth = words?.Count ?? config.Depth("num_hidden_layers");
        config.Agree("num_hidden_layers", depth, "the list of layers says");
        bool[]? listed = null;
        if (config.Numbers("hybrid_layer_ids") is { } indices)
        {
            listed = new bool[depth];
            foreach (double index in indices)
            {
                if (!(index >= 0 && index < depth && index == Math.Floor(index)))
                    throw config.Refusal("hybrid_layer_ids", index, $"layers 0 to {depth - 1}");
                listed[(int)index] = true;
            }
        }
        if (words is null) return listed ?? throw config.Refusal("layers_block_type", null, "a list of layer words");
        bool[] hybrid = [.. words.Select(word => word switch
        {
            "hybrid" => true,
            "mamba" or "linear_attention" => false,
            _ => throw config.Refusal("layers_block_type", word, "mamba, hybrid, or the newer word linear_attention"),
        })];
        if (listed is not null && !listed.SequenceEqual(hybrid))
            throw config.Refusal("hybrid_layer_ids", config.Value("hybrid_layer_ids"), "the layers that layers_block_type calls hybrid");
        return hybrid;
    }

    // sizes of attention that follow from others, settings of positions if there are none, and tensors that every model of the family has
    private protected override IReadOnlyCollection<string> Unused =>
    [
        .. PretrainedConfig.RotaryKeys, "use_shared_mlp_adapter", "use_conv_bias", "use_shared_block_lora", "num_mem_blocks", "use_long_context",
        "kv_channels", "num_query_groups", "ffn_hidden_size", "activation_func", "bias_dropout_fusion", "bias_gelu_fusion", "state_size",
        "conv_dimension", "mamba_dt_rank", "mamba_proj_bias", "lora_rank", "use_low_rank_mamba_proj", "vocab_divisible_by",
    ];

    private protected override void Write(HybridDesign design, JsonObject config)
    {
        var mamba = First<Mamba2Spec>(design);
        config["num_hidden_layers"] = design.Depth;
        config["rms_norm_eps"] = design.NormEpsilon;
        config["layers_block_type"] = new JsonArray([.. design.Blocks.Select(block => JsonValue.Create(block.Shared is null ? "mamba" : "hybrid"))]);
        config["hybrid_layer_ids"] = new JsonArray([.. Uses(design).Select(layer => JsonValue.Create(layer))]);
        config["n_mamba_heads"] = mamba.Heads;
        config["mamba_headdim"] = mamba.HeadSize;
        config["mamba_d_state"] = mamba.StateSize;
        config["mamba_ngroups"] = mamba.Groups;
        config["mamba_d_conv"] = mamba.ConvolutionWidth;
        config["mamba_expand"] = BambaFamily.Expansion(mamba.InnerWidth, design.Width);
        config["chunk_size"] = mamba.ChunkSize;
        config["add_bias_linear"] = mamba.ProjectionBias;
        config["use_mamba_kernels"] = false;
        config["num_mem_blocks"] = Math.Max(1, design.SharedTransformers.Count);
        WriteBothLimits(config, mamba.TimeStepLimit);
        if (!design.TiedHead && Uses(design).Count() > design.SharedTransformers.Count)
            throw Unfit(
                "shared transformers and a separate head", "a tied head, or one transformer per use, because transformers ties both or neither");
        if (design.SharedTransformers.Count == 0) return;
        var transformer = design.SharedTransformers[0];
        var use = design.Blocks.Select(block => block.Shared).FirstOrDefault(shared => shared is not null)
            ?? throw Unfit("shared transformers that no block uses", "none");
        config["num_attention_heads"] = transformer.Attention.Heads;
        config["num_key_value_heads"] = transformer.Attention.KeyValueHeads;
        config["attention_head_dim"] = transformer.Attention.HeadSize;
        config["attention_hidden_size"] = transformer.InputWidth(design.Width);
        config["use_mem_rope"] = transformer.Attention.Rotary is not null;
        WriteRotary(config, transformer.Attention.Rotary);
        config["intermediate_size"] = transformer.FeedForward.Width;
        config["hidden_act"] = HuggingFaceNames.FromActivation(transformer.FeedForward.Activation);
        config["adapter_rank"] = use.FeedForwardAdapterRank;
        config["use_shared_attention_adapter"] = use.AttentionAdapterRank > 0;
        config["use_shared_mlp_adapter"] = true;
    }

    static IEnumerable<int> Uses(HybridDesign design) => Enumerable.Range(0, design.Depth).Where(layer => design.Blocks[layer].Shared is not null);

    internal override IEnumerable<TensorChoice> Tensors(HybridDesign design)
    {
        foreach (var rule in TensorRules.EmbeddingNormHead(design, "model.embed_tokens.weight", "model.final_layernorm.weight")) yield return rule;
        var first = new Dictionary<int, string>();       // the weights of a transformer are stored at the first layer that uses it
        int uses = 0;
        for (int i = 0; i < design.Depth; i++)
        {
            var (block, model) = (design.Blocks[i], Block(i));
            string file = $"model.layers.{i}.";
            if (block.Shared is { } use)
            {
                if (first.TryAdd(use.Transformer, file + "shared_transformer."))
                    foreach (var rule in Shared(file + "shared_transformer.", $"stack.shared.{use.Transformer}.",
                        design.SharedTransformers[use.Transformer])) yield return rule;
                foreach (var rule in Adapters(first[use.Transformer], uses++, model + "shared.", use)) yield return rule;
                yield return TensorRules.Rename(file + "linear.weight", model + "shared.output.weight");
                file += "mamba_decoder.";
            }
            yield return TensorRules.Rename(file + "input_layernorm.weight", model + "mixer_norm.weight");
            foreach (var rule in TensorRules.Mamba2(file + "mamba.", model + "mixer.", (Mamba2Spec)block.Mixer!)) yield return rule;
        }
    }

    static IEnumerable<TensorChoice> Shared(string file, string model, SharedTransformerSpec spec)
    {
        TensorRule Together(string name) =>
            new($"{file}feed_forward.gate_up_proj.{name}", [new($"{model}feed_forward.gate.{name}"), new($"{model}feed_forward.up.{name}")]);
        TensorChoice[] always =
        [
            TensorRules.Rename(file + "input_layernorm.weight", model + "norm.weight"),
            TensorRules.Rename(file + "pre_ff_layernorm.weight", model + "feed_forward_norm.weight"),
            .. TensorRules.Attention(file + "self_attn.", model + "attention.", spec.Attention),
            Together("weight"), .. TensorRules.Linear(file + "feed_forward.down_proj", model + "feed_forward.down", spec.FeedForward.Bias),
        ];
        return spec.FeedForward.Bias ? [.. always, Together("bias")] : always;
    }

    // adapters are stored with the weights that they adapt, numbered by their use
    static IEnumerable<TensorChoice> Adapters(string file, int use, string model, SharedTransformerUse spec)
    {
        var adapters = new List<(string File, string Model)>();
        if (spec.AttentionAdapterRank > 0)
            adapters.AddRange([("self_attn.linear_q", "query"), ("self_attn.linear_k", "key"), ("self_attn.linear_v", "value")]);
        if (spec.FeedForwardAdapterRank > 0) adapters.Add(("feed_forward.gate_up_proj", "feed_forward"));
        foreach (var (stored, part) in adapters)
        {
            yield return TensorRules.Rename($"{file}{stored}_adapter_list.{use}.0.weight", $"{model}{part}_adapter.down.weight");
            yield return TensorRules.Rename($"{file}{stored}_adapter_list.{use}.1.weight", $"{model}{part}_adapter.up.weight");
        }
    }

    // some files repeat the shared weights at every layer that uses them, or contain adapters of uses that are elsewhere
    internal override bool IsIgnored(string name, HybridDesign design)
    {
        if (base.IsIgnored(name, design)) return true;
        if (name.Split('.', 5) is not ["model", "layers", var layer, "shared_transformer", var part] || !int.TryParse(layer, out int index)
            || index < 0 || index >= design.Depth || design.Blocks[index].Shared is not { } use) return false;
        int[] uses = [.. Uses(design)];
        if (uses.First(other => design.Blocks[other].Shared!.Transformer == use.Transformer) != index) return true;
        int list = part.IndexOf("_adapter_list.", StringComparison.Ordinal);
        return list >= 0 && int.TryParse(part[(list + "_adapter_list.".Length)..].Split('.')[0], out int number) && number >= 0
            && number < uses.Length
            && design.Blocks[uses[number]].Shared!.Transformer != use.Transformer;
    }
}
