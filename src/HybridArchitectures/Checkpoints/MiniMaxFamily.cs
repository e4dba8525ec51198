using System.Text.Json.Nodes;
using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Checkpoints;

/// <summary>
/// Implements MiniMax-01 (arXiv 2501.08313): lightning attention and periodic layers of attention, experts, norms of the residual stream, and
/// multipliers of the stream and of the outputs.
/// </summary>
sealed class MiniMaxFamily() : PretrainedFamily("minimax", "MiniMaxForCausalLM", skipsPadding: true)
{
    const string Lightning = "linear_attention", Full = "full_attention";

    private protected override HybridDesign Read(PretrainedConfig config)
    {
        int width = config.Int("hidden_size"), depth = config.Depth("num_hidden_layers"), heads = config.Int("num_attention_heads", 32);
        double epsilon = config.Double("rms_norm_eps", 1e-5);
        int headSize = config.HeadSize(width, heads);
        var activation = config.Activation("hidden_act", "silu");
        config.NoWindow();
        CheckDetails(config);
        var attention = new AttentionSpec
        {
            Heads = heads, KeyValueHeads = config.KeyValueHeads(heads, 8), HeadSize = headSize, 
            Rotary = config.Rotary(1_000_000, fraction: RotatedPart(config, headSize)),
        };
        var lightning = new LightningAttentionSpec
        {
            Heads = heads, HeadSize = headSize, Activation = activation, ChunkSize = Chunk(config, "block_size", 256),
        };
        var experts = Experts(config, activation);
        double Factor(string name) => config.Double(name, 1);
        ResidualScales Scales(string kind) => new(
            Factor($"{kind}_alpha_factor"), Factor($"{kind}_beta_factor"), Factor("mlp_alpha_factor"), Factor("mlp_beta_factor"));
        var (ofFull, ofLightning) = (Scales("full_attn"), Scales("linear_attn"));
        bool[] attends = config.Has("layer_types") ? Qwen3NextFamily.Attends(config, depth)
            : [.. Enumerable.Range(0, depth).Select(i => (i + 1) % 2 != 0)];
        return new HybridDesign
        {
            Name = ModelType, VocabularySize = config.Int("vocab_size"), Width = width, NormEpsilon = epsilon,
            TiedHead = config.Flag("tie_word_embeddings", false),
            Blocks = Blocks(depth, i => new()
            {
                Mixer = attends[i] ? attention : lightning with { DecayScale = DecayScale(i, depth) }, FeedForward = experts, NormEpsilon = epsilon,
                Norms = NormPlacement.Stream, Scales = attends[i] ? ofFull : ofLightning,
            }),
        };
    }

    static MixtureOfExpertsSpec Experts(PretrainedConfig config, Activation activation) => new()
    {
        Experts = config.Int(config.Spelling("num_local_experts", "num_experts"), 8), ExpertsPerToken = config.Int("num_experts_per_tok", 2),
        ExpertWidth = config.Int("intermediate_size", 14336), Activation = activation, Score = RouterScore.Softmax, Renormalize = true,
        Balance = config.Flag("output_router_logits", false) ? ExpertBalance.JointAuxiliaryLoss : ExpertBalance.None,
        BalanceRate = config.Double("router_aux_loss_coef", 0.001),
    };

    static void CheckDetails(PretrainedConfig config)
    {
        config.Only("postnorm", true);
        if (config.Int("shared_intermediate_size", 0) is not 0 and var shared)
            throw config.Refusal("shared_intermediate_size", shared, "0, because shared experts are not supported in this family");
    }

    // the first rotary_dim channels of attention, and none of lightning attention, as in vllm/model_executor/models/minimax_text_01.py of vLLM;
    // transformers rotates whole heads, whatever the published rotary_dim says
    static double? RotatedPart(PretrainedConfig config, int headSize)
    {
        int rotated = config.Int("rotary_dim", headSize);
        if (rotated < 1 || rotated > headSize) throw config.Refusal("rotary_dim", rotated, $"1 to head_dim = {headSize}");
        return rotated == headSize || config.FollowsTransformers ? null : (double)rotated / headSize;
    }

    // without shared experts
    private protected override IReadOnlyCollection<string> Unused => ["shared_moe_mode"];

    // later layers forget more slowly
    static double DecayScale(int layer, int depth) => 1 - layer / (depth - 1 + 1e-5) + 1e-5;

    private protected override void Write(HybridDesign design, JsonObject config)
    {
        var (attention, lightning) = (FirstOrNone<AttentionSpec>(design), FirstOrNone<LightningAttentionSpec>(design));
        if (attention is null && lightning is null) throw Unfit($"blocks {design.Pattern}", "attention and lightning attention");
        config["num_hidden_layers"] = design.Depth;
        config["rms_norm_eps"] = design.NormEpsilon;
        WriteAttention(config, attention
            ?? new AttentionSpec { Heads = lightning!.Heads, KeyValueHeads = lightning.Heads, HeadSize = lightning.HeadSize });
        config.Remove("attention_bias");
        WritePositions(config, attention);
        config["block_size"] = lightning?.ChunkSize ?? 256;
        config["layer_types"] = new JsonArray([.. design.Blocks.Select(block => JsonValue.Create(block.Mixer is AttentionSpec ? Full : Lightning))]);
        foreach (var (kind, isFull) in new[] { ("full_attn", true), ("linear_attn", false) })
        {
            var scales = design.Blocks.FirstOrDefault(block => block.Mixer is AttentionSpec == isFull)?.Scales;
            config[$"{kind}_alpha_factor"] = scales?.MixerStream ?? 1;
            config[$"{kind}_beta_factor"] = scales?.MixerOutput ?? 1;
        }
        config["mlp_alpha_factor"] = design.Blocks[0].Scales?.FeedForwardStream ?? 1;
        config["mlp_beta_factor"] = design.Blocks[0].Scales?.FeedForwardOutput ?? 1;
        var experts = FirstFeedForward<MixtureOfExpertsSpec>(design) ?? throw Unfit("no experts", "experts in every block");
        config["hidden_act"] = HuggingFaceNames.FromActivation(experts.Activation);
        config["num_local_experts"] = experts.Experts;
        config["num_experts_per_tok"] = experts.ExpertsPerToken;
        config["intermediate_size"] = experts.ExpertWidth;
        config["router_aux_loss_coef"] = experts.BalanceRate;
        config["output_router_logits"] = experts.Balance == ExpertBalance.JointAuxiliaryLoss;
    }

    // the part of a head that is rotated is written as in published files
    static void WritePositions(JsonObject config, AttentionSpec? attention)
    {
        WriteRotary(config, attention?.Rotary);
        if (attention?.Rotary is not { Fraction: not 1 } rotary) return;
        config["rotary_dim"] = (int)Math.Round(rotary.Fraction * attention.HeadSize);
        config.Remove("partial_rotary_factor");
        ((JsonObject)config["rope_parameters"]!).Remove("partial_rotary_factor");
    }

    internal override IEnumerable<TensorChoice> Tensors(HybridDesign design)
    {
        foreach (var rule in TensorRules.EmbeddingNormHead(design, "model.embed_tokens.weight", "model.norm.weight")) yield return rule;
        for (int i = 0; i < design.Depth; i++)
        {
            string file = $"model.layers.{i}.", model = Block(i);
            yield return TensorRules.Rename(file + "input_layernorm.weight", model + "mixer_norm.weight");
            yield return TensorRules.Rename(file + "post_attention_layernorm.weight", model + "feed_forward_norm.weight");
            var mixer = design.Blocks[i].Mixer is AttentionSpec attention ? TensorRules.Attention(file + "self_attn.", model + "mixer.", attention)
                : LightningRules(file + "self_attn.", model + "mixer.", (LightningAttentionSpec)design.Blocks[i].Mixer!);
            var experts = (MixtureOfExpertsSpec)design.Blocks[i].FeedForward;
            TensorChoice[] feedForward =
            [
                TensorRules.Rename(file + "block_sparse_moe.gate.weight", model + "feed_forward.router.weight"),
                TensorRules.Experts(file + "block_sparse_moe.experts.", model + "feed_forward.", experts, numbered: true),
            ];
            foreach (var rule in mixer.Concat(feedForward)) yield return rule;
        }
    }

    static IEnumerable<TensorChoice> LightningRules(string file, string model, LightningAttentionSpec spec)
    {
        foreach (var (name, part) in new[] { ("qkv_proj", "input"), ("output_gate", "gate"), ("norm", "norm"), ("out_proj", "output") })
            yield return TensorRules.Rename($"{file}{name}.weight", $"{model}{part}.weight");
        // tables that transformers computes from the configuration and saves
        int size = spec.ChunkSize;
        // in float32, as there
        Tensor Rates() => full([spec.Heads], Scalars.From(Math.Pow(2, -8.0 / spec.Heads)), ScalarType.Float32)
            .pow(Indices.Range(1, spec.Heads, CPU).to(ScalarType.Float32)).mul(Scalars.From(spec.DecayScale)).view(-1, 1, 1);
        Tensor Numbers() => Indices.Range(1, size, CPU).to(ScalarType.Float32).view(1, -1, 1);
        Tensor Pairs() => Numbers().view(1, -1, 1) - Numbers().view(1, 1, -1);
        yield return TensorRule.Computed(file + "slope_rate", [spec.Heads, 1, 1], Rates);
        yield return TensorRule.Computed(file + "query_decay", [spec.Heads, size, 1], () => (Rates().neg() * Numbers()).exp());
        yield return TensorRule.Computed(file + "key_decay", [spec.Heads, size, 1], () => (Rates() * Numbers().sub(Scalars.From(size))).exp());
        yield return TensorRule.Computed(file + "diagonal_decay", [1, spec.Heads, size, size],
            () => (Rates().neg() * Pairs()).exp().tril().unsqueeze(0));
    }
}
