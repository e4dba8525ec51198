using System.Text.Json.Nodes;
using HybridArchitectures.Design;

namespace HybridArchitectures.Checkpoints;

/// <summary>
/// Implements the mixtures of experts of LFM2 (arXiv 2511.23404): gated short convolutions, some attention layers with norms of queries and keys,
/// dense feed-forwards in the first layers, and experts with a selection bias in the others.
/// </summary>
sealed class Lfm2MoeFamily() : PretrainedFamily("lfm2_moe", "Lfm2MoeForCausalLM", skipsPadding: true, paddingId: 0)
{
    private protected override HybridDesign Read(PretrainedConfig config)
    {
        int width = config.Int("hidden_size"), depth = config.Depth("num_hidden_layers"), heads = config.Int("num_attention_heads", 32);
        double epsilon = config.Double("norm_eps", 1e-5);
        config.NoWindow();
        var attention = new AttentionSpec
        {
            Heads = heads, KeyValueHeads = config.KeyValueHeads(heads, 8), HeadSize = config.HeadSize(width, heads), QkNorm = true,
            Rotary = config.Rotary(config.Double(config.Spelling("theta", "rope_theta"), 1_000_000)),
        };
        var convolution = new ShortConvolutionSpec { ConvolutionWidth = config.Int("conv_L_cache", 3), Bias = config.Flag("conv_bias", false) };
        bool[] attends = Lfm2Family.Attends(config, depth);
        int dense = config.Int("num_dense_layers", 2);
        var feedForward = new SwiGluSpec(config.Int("intermediate_size"));
        var experts = new MixtureOfExpertsSpec
        {
            Experts = config.Int("num_experts", 32), ExpertsPerToken = config.Int("num_experts_per_tok", 4),
            ExpertWidth = config.Int("moe_intermediate_size", 1792), Score = RouterScore.Sigmoid,
            Renormalize = config.Flag("norm_topk_prob", true), Scale = config.Double("routed_scaling_factor", 1),
            Balance = config.Flag("use_expert_bias", true) ? ExpertBalance.BiasUpdate : ExpertBalance.None,
        };
        return new HybridDesign
        {
            Name = ModelType, VocabularySize = config.Int("vocab_size"), Width = width, NormEpsilon = epsilon,
            TiedHead = config.Flag("tie_embedding", config.Flag("tie_word_embeddings", true)),
            Blocks = Blocks(depth, i => new()
            {
                Mixer = attends[i] ? attention : convolution, FeedForward = i < dense ? feedForward : experts, NormEpsilon = epsilon,
            }),
        };
    }

    private protected override void Write(HybridDesign design, JsonObject config)
    {
        Lfm2Family.WriteMixers(design, config);
        int dense = design.Blocks.TakeWhile(block => block.FeedForward is SwiGluSpec).Count();
        config["num_dense_layers"] = dense;
        config["intermediate_size"] = FirstFeedForward<SwiGluSpec>(design)?.Width ?? 4 * design.Width;
        if (FirstFeedForward<MixtureOfExpertsSpec>(design) is not { } experts) return;
        config["num_experts"] = experts.Experts;
        config["num_experts_per_tok"] = experts.ExpertsPerToken;
        config["moe_intermediate_size"] = experts.ExpertWidth;
        config["norm_topk_prob"] = experts.Renormalize;
        config["routed_scaling_factor"] = experts.Scale;
        config["use_expert_bias"] = experts.Balance == ExpertBalance.BiasUpdate;
    }

    internal override IEnumerable<TensorChoice> Tensors(HybridDesign design)
    {
        foreach (var rule in TensorRules.EmbeddingNormHead(design, "model.embed_tokens.weight", "model.embedding_norm.weight")) yield return rule;
        for (int i = 0; i < design.Depth; i++)
        {
            string file = $"model.layers.{i}.", model = Block(i);
            var feedForward = design.Blocks[i].FeedForward is MixtureOfExpertsSpec experts
                ? Experts(file + "feed_forward.", model + "feed_forward.", experts)
                : Lfm2Family.Dense(file + "feed_forward.", model + "feed_forward.");
            foreach (var rule in Lfm2Family.Mixer(file, model, design.Blocks[i].Mixer!).Concat(feedForward)) yield return rule;
        }
    }

    static IEnumerable<TensorChoice> Experts(string file, string model, MixtureOfExpertsSpec spec)
    {
        yield return TensorRules.Rename(file + "gate.weight", model + "router.weight");
        if (spec.Balance == ExpertBalance.BiasUpdate) yield return TensorRules.Rename(file + "expert_bias", model + "selection_bias");
        yield return TensorRules.Experts(file + "experts.", model, spec, numbered: true);
    }
}
