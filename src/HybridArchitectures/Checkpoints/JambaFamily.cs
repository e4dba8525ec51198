using System.Text.Json.Nodes;
using HybridArchitectures.Design;

namespace HybridArchitectures.Checkpoints;

/// <summary>
/// Implements Jamba (arXiv 2403.19887): Mamba-1 layers with norms of the time step, B and C, periodic attention layers without positions, and experts
/// in some layers.
/// </summary>
sealed class JambaFamily() : PretrainedFamily("jamba", "JambaForCausalLM", skipsPadding: true, paddingId: 0)
{
    private protected override HybridDesign Read(PretrainedConfig config)
    {
        int width = config.Int("hidden_size"), heads = config.Int("num_attention_heads", 32);
        int attentionPeriod = config.Int("attn_layer_period", 8), attentionOffset = config.Int("attn_layer_offset", 4);
        int expertPeriod = config.Int("expert_layer_period", 2), expertOffset = config.Int("expert_layer_offset", 1);
        double epsilon = config.Double("rms_norm_eps", 1e-6);
        CheckOffset(config, "attn", attentionPeriod, attentionOffset);
        CheckOffset(config, "expert", expertPeriod, expertOffset);
        var attention = new AttentionSpec { Heads = heads, KeyValueHeads = config.KeyValueHeads(heads, 8), HeadSize = config.HeadSize(width, heads) };
        config.NoWindow();
        // models of the first version without these norms exist, but are not supported
        config.Only("mamba_inner_layernorms", true);
        config.Only("attention_bias", false);
        var mamba = Mamba(config, width);
        var dense = new SwiGluSpec(config.Int("intermediate_size", 14336)) { Activation = mamba.Activation };
        var mixture = Mixture(config, dense);
        return new HybridDesign
        {
            Name = ModelType, VocabularySize = config.Int("vocab_size"), Width = width, TiedHead = config.Flag("tie_word_embeddings", false),
            NormEpsilon = epsilon,
            Blocks = Blocks(config.Depth("num_hidden_layers"), i => new()
            {
                Mixer = i % attentionPeriod == attentionOffset ? attention : mamba,
                FeedForward = i % expertPeriod == expertOffset ? mixture : dense,
                NormEpsilon = epsilon,
            }),
        };
    }

    static Mamba1Spec Mamba(PretrainedConfig config, int width) => new()
    {
        InnerWidth = Expanded(config, "mamba_expand", width),
        StateSize = config.Int("mamba_d_state", 16),
        ConvolutionWidth = config.Int("mamba_d_conv", 4),
        TimeStepRank = config.IntOrAuto("mamba_dt_rank", (width + 15) / 16),
        ConvolutionBias = config.Flag("mamba_conv_bias", true),
        ProjectionBias = config.Flag("mamba_proj_bias", false),
        SelectionNorm = SelectionNorm.Weighted,
        Activation = config.Activation("hidden_act", "silu"),
    };

    // one expert is a dense feed-forward
    static FeedForwardSpec Mixture(PretrainedConfig config, SwiGluSpec dense)
    {
        int experts = config.Int(config.Spelling("num_experts", "num_local_experts"), 16);
        return experts <= 1 ? dense : new MixtureOfExpertsSpec
        {
            Experts = experts, ExpertsPerToken = config.Int("num_experts_per_tok", 2), ExpertWidth = dense.Width, Activation = dense.Activation,
            Score = RouterScore.Softmax,
            Balance = config.Flag("output_router_logits", false) ? ExpertBalance.JointAuxiliaryLoss : ExpertBalance.None,
            BalanceRate = config.Double("router_aux_loss_coef", 0.001),
        };
    }

    // attention has no positions; experts may be absent
    private protected override IReadOnlyCollection<string> Unused =>
    [
        .. PretrainedConfig.RotaryKeys, "num_experts_per_tok", "time_step_min", "use_mamba_kernels", "layers_block_type", "layer_types",
        "layers_num_experts",
    ];

    private protected override void Write(HybridDesign design, JsonObject config)
    {
        var experts = FirstFeedForward<MixtureOfExpertsSpec>(design);
        var activation = experts?.Activation ?? FirstFeedForward<SwiGluSpec>(design)?.Activation ?? Activation.Silu;
        var mamba = FirstOr(design, new Mamba1Spec { Activation = activation });
        var (attentionPeriod, attentionOffset) = Period(design, "attention", block => block.Mixer is AttentionSpec);
        var (expertPeriod, expertOffset) = Period(design, "experts", block => block.FeedForward is MixtureOfExpertsSpec);
        config["num_hidden_layers"] = design.Depth;
        config["rms_norm_eps"] = design.NormEpsilon;
        WriteAttention(config, FirstOr(design, new AttentionSpec { Heads = 1 }));
        config["attn_layer_period"] = attentionPeriod;
        config["attn_layer_offset"] = attentionOffset;
        config["expert_layer_period"] = expertPeriod;
        config["expert_layer_offset"] = expertOffset;
        config["mamba_expand"] = BambaFamily.Expansion(mamba.InnerWidth, design.Width);
        config["mamba_d_state"] = mamba.StateSize;
        config["mamba_d_conv"] = mamba.ConvolutionWidth;
        config["mamba_dt_rank"] = mamba.TimeStepRank;
        config["mamba_conv_bias"] = mamba.ConvolutionBias;
        config["mamba_proj_bias"] = mamba.ProjectionBias;
        config["num_experts"] = experts?.Experts ?? 1;
        config["num_experts_per_tok"] = experts?.ExpertsPerToken ?? 1;
        config["intermediate_size"] = experts?.ExpertWidth ?? FirstFeedForward<SwiGluSpec>(design)?.Width
            ?? throw Unfit("no feed-forward", "one in every block");
        config["router_aux_loss_coef"] = experts?.BalanceRate ?? 0.001;
        config["output_router_logits"] = experts?.Balance == ExpertBalance.JointAuxiliaryLoss;
        config["hidden_act"] = HuggingFaceNames.FromActivation(mamba.Activation);
        config["use_mamba_kernels"] = false;
    }

    static void CheckOffset(PretrainedConfig config, string what, int period, int offset)
    {
        if (period < 1) throw config.Refusal($"{what}_layer_period", period, "at least 1");
        if (offset < 0 || offset >= period) throw config.Refusal($"{what}_layer_offset", offset, $"0 to {period - 1}, below {what}_layer_period");
    }

    // returns the period and offset; if there are no such layers, a period longer than the model
    static (int Period, int Offset) Period(HybridDesign design, string what, Func<BlockSpec, bool> holds)
    {
        for (int period = 1; period <= design.Depth + 1; period++)
        {
            int offset = design.Blocks.Select((block, i) => holds(block) ? i : design.Depth).Min();
            if (offset < period && Enumerable.Range(0, design.Depth).All(i => holds(design.Blocks[i]) == (i % period == offset)))
                return (period, offset);
        }
        throw Unfit($"{what} in {design.Pattern}", "them at equal distances");
    }

    internal override IEnumerable<TensorChoice> Tensors(HybridDesign design)
    {
        foreach (var rule in TensorRules.EmbeddingNormHead(design, "model.embed_tokens.weight", "model.final_layernorm.weight")) yield return rule;
        for (int i = 0; i < design.Depth; i++)
        {
            string file = $"model.layers.{i}.", model = Block(i);
            yield return TensorRules.Rename(file + "input_layernorm.weight", model + "mixer_norm.weight");
            yield return TensorRules.Rename(file + "pre_ff_layernorm.weight", model + "feed_forward_norm.weight");
            if (design.Blocks[i].Mixer is AttentionSpec attention)
                foreach (var rule in TensorRules.Attention(file + "self_attn.", model + "mixer.", attention)) yield return rule;
            else
            {
                foreach (var rule in TensorRules.Mamba1(file + "mamba.", model + "mixer.", (Mamba1Spec)design.Blocks[i].Mixer!)) yield return rule;
                foreach (string part in new[] { "dt", "b", "c" })
                    yield return TensorRules.Rename($"{file}mamba.{part}_layernorm.weight", $"{model}mixer.{part}_norm");
            }
            if (design.Blocks[i].FeedForward is MixtureOfExpertsSpec experts)
            {
                yield return TensorRules.Rename(file + "feed_forward.router.weight", model + "feed_forward.router.weight");
                yield return TensorRules.Experts(file + "feed_forward.experts.", model + "feed_forward.", experts);
            }
            else
                foreach (var rule in TensorRules.SwiGlu(file + "feed_forward.", model + "feed_forward.", (SwiGluSpec)design.Blocks[i].FeedForward))
                    yield return rule;
        }
    }
}
