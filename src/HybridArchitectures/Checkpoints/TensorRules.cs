using HybridArchitectures.Design;

namespace HybridArchitectures.Checkpoints;

/// <summary>Contains rules that several families share. <c>file</c> and <c>model</c> are prefixes that end with a dot.</summary>
static class TensorRules
{
    public static TensorRule Rename(string file, string model) => new(file, [new(model)]);

    public static IEnumerable<TensorChoice> EmbeddingNormHead(HybridDesign design, string embedding, string norm)
    {
        yield return Rename(embedding, "embedding");
        yield return Rename(norm, "stack.norm.weight");
        if (!design.TiedHead) yield return Rename(PretrainedFamily.Head, "head");
    }

    /// <summary>
    /// Returns the rules of a transformer with the tensor names of Llama, and norms of queries and keys where the attention has them.
    /// </summary>
    /// <param name="design">The design: attention and SwiGLU in every block.</param>
    /// <param name="mixerNorm">The name of the norm of the mixer.</param>
    /// <param name="feedForwardNorm">The name of the norm of the feed-forward.</param>
    public static IEnumerable<TensorChoice> Transformer(
        HybridDesign design, string mixerNorm = "input_layernorm", string feedForwardNorm = "post_attention_layernorm")
    {
        foreach (var rule in EmbeddingNormHead(design, "model.embed_tokens.weight", "model.norm.weight")) yield return rule;
        for (int i = 0; i < design.Depth; i++)
        {
            string file = $"model.layers.{i}.", model = PretrainedFamily.Block(i);
            yield return Rename($"{file}{mixerNorm}.weight", model + "mixer_norm.weight");
            yield return Rename($"{file}{feedForwardNorm}.weight", model + "feed_forward_norm.weight");
            var attention = (AttentionSpec)design.Blocks[i].Mixer!;
            foreach (var rule in Attention(file + "self_attn.", model + "mixer.", attention)) yield return rule;
            foreach (var rule in QkNorm(file + "self_attn.", model + "mixer.", attention)) yield return rule;
            foreach (var rule in SwiGlu(file + "mlp.", model + "feed_forward.", (SwiGluSpec)design.Blocks[i].FeedForward)) yield return rule;
        }
    }

    public static IEnumerable<TensorChoice> Linear(string file, string model, bool bias)
    {
        yield return Rename(file + ".weight", model + ".weight");
        if (bias) yield return Rename(file + ".bias", model + ".bias");
    }

    public static IEnumerable<TensorChoice> Attention(string file, string model, AttentionSpec spec) =>
    [
        .. Linear(file + "q_proj", model + "query", spec.InputBias), .. Linear(file + "k_proj", model + "key", spec.InputBias),
        .. Linear(file + "v_proj", model + "value", spec.InputBias), .. Linear(file + "o_proj", model + "output", spec.OutputBias),
    ];

    /// <summary>Returns the rules of the norms of queries and keys.</summary>
    public static IEnumerable<TensorChoice> QkNorm(string file, string model, AttentionSpec spec) => !spec.QkNorm ? [] :
    [
        Rename(file + "q_norm.weight", model + "query_norm.weight"), Rename(file + "k_norm.weight", model + "key_norm.weight"),
    ];

    /// <summary>
    /// Returns the rules of a gated delta net whose projections are separate matrices of all heads, while the model orders the rows by key head.
    /// Projections of several parts are joined in the file.
    /// </summary>
    /// <param name="model">The prefix in the model.</param>
    /// <param name="spec">The mixer.</param>
    /// <param name="files">
    /// The name of each matrix with its parts: <c>q</c>, <c>k</c>, <c>v</c>, gate <c>z</c>, strength <c>b</c>, time step <c>a</c>.
    /// </param>
    public static IEnumerable<TensorChoice> DeltaProjections(string model, GatedDeltaSpec spec, params (string File, string Parts)[] files)
    {
        int key = spec.KeyHeadSize, group = spec.ValueHeads / spec.KeyHeads, values = group * spec.ValueHeadSize;
        TensorPart Part(char part) => part switch
        {
            'q' => new(model + "input.weight", Rows: new(spec.KeyHeads, 0, key)),
            'k' => new(model + "input.weight", Rows: new(spec.KeyHeads, key, key)),
            'v' => new(model + "input.weight", Rows: new(spec.KeyHeads, 2 * key, values)),
            'z' => new(model + "input.weight", Rows: new(spec.KeyHeads, 2 * key + values, values)),
            'b' => new(model + "rates.weight", Rows: new(spec.KeyHeads, 0, group)),
            _ => new(model + "rates.weight", Rows: new(spec.KeyHeads, group, group)),
        };
        return files.Select(one => (TensorChoice)new TensorRule(one.File, [.. one.Parts.Select(Part)]));
    }

    /// <summary>Returns the rules of three convolutions, of queries, keys and values, that are one in the model.</summary>
    /// <param name="file">The prefix in the file.</param>
    /// <param name="model">The prefix in the model.</param>
    /// <param name="widths">The channels of each.</param>
    public static IReadOnlyList<TensorRule> SplitFilters(string file, string model, params ReadOnlySpan<int> widths)
    {
        string[] names = ["q_conv1d", "k_conv1d", "v_conv1d"];
        var rules = new List<TensorRule>();
        int start = 0;
        for (int i = 0; i < widths.Length; i++)
        {
            rules.Add(new($"{file}{names[i]}.weight", [new(model + "conv_weight", Rows: new(1, start, widths[i]))], IsFilter: true));
            start += widths[i];
        }
        return rules;
    }

    public static IEnumerable<TensorChoice> ConvolutionFilter(string file, string model, bool bias)
    {
        yield return new TensorRule(file + ".weight", [new(model + "conv_weight")], IsFilter: true);
        if (bias) yield return Rename(file + ".bias", model + "conv_bias");
    }

    public static IEnumerable<TensorChoice> Mamba1(string file, string model, Mamba1Spec spec) =>
    [
        .. Linear(file + "in_proj", model + "input", spec.ProjectionBias), .. ConvolutionFilter(file + "conv1d", model, spec.ConvolutionBias),
        Rename(file + "x_proj.weight", model + "selection.weight"),
        Rename(file + "dt_proj.weight", model + "dt_weight"), Rename(file + "dt_proj.bias", model + "dt_bias"),
        Rename(file + "A_log", model + "A_log"), Rename(file + "D", model + "D"),
        .. Linear(file + "out_proj", model + "output", spec.ProjectionBias),
    ];

    public static IEnumerable<TensorChoice> Mamba2(string file, string model, Mamba2Spec spec)
    {
        TensorChoice[] always =
        [
            .. Linear(file + "in_proj", model + "input", spec.ProjectionBias), .. ConvolutionFilter(file + "conv1d", model, spec.ConvolutionBias),
            Rename(file + "dt_bias", model + "dt_bias"), Rename(file + "A_log", model + "A_log"), Rename(file + "D", model + "D"),
            .. Linear(file + "out_proj", model + "output", spec.HasOutputBias),
        ];
        return spec.GatedNorm ? [.. always, Rename(file + "norm.weight", model + "norm_weight")] : always;
    }

    public static IEnumerable<TensorChoice> SwiGlu(string file, string model, SwiGluSpec spec) =>
    [
        .. Linear(file + "gate_proj", model + "gate", spec.Bias), .. Linear(file + "up_proj", model + "up", spec.Bias),
        .. Linear(file + "down_proj", model + "down", spec.Bias),
    ];

    public static IEnumerable<TensorChoice> Mlp(string file, string model, bool bias) =>
        [.. Linear(file + "up_proj", model + "up", bias), .. Linear(file + "down_proj", model + "down", bias)];

    /// <summary>
    /// Returns the rules of experts: one matrix each (<c>experts.3.up_proj.weight</c>), or one tensor for all (<c>experts.up_proj</c>, or
    /// <c>gate_up_proj</c> with gate and up).
    /// </summary>
    /// <param name="file">The prefix in the file.</param>
    /// <param name="model">The prefix in the model.</param>
    /// <param name="spec">The experts.</param>
    /// <param name="numbered">Whether matrices are named <c>w1</c> (gate), <c>w3</c> (up) and <c>w2</c> (down). The default is false.</param>
    /// <param name="together">Whether one tensor for all is the form that is written. The default is false.</param>
    public static TensorChoice Experts(string file, string model, MixtureOfExpertsSpec spec, bool numbered = false, bool together = false)
    {
        (string Matrix, string Name)[] matrices = numbered ? [("gate", "w1"), ("up", "w3"), ("down", "w2")]
            : [("gate", "gate_proj"), ("up", "up_proj"), ("down", "down_proj")];
        if (!spec.Gated) matrices = matrices[1..];
        IReadOnlyList<TensorRule> each = [.. Enumerable.Range(0, spec.Experts).SelectMany(expert =>
            matrices.Select(one => new TensorRule($"{file}{expert}.{one.Name}.weight", [new(model + one.Matrix, expert)])))];
        IReadOnlyList<TensorRule> all =
        [
            spec.Gated ? new(file + "gate_up_proj", [new(model + "gate"), new(model + "up")], Dimension: 1) : Rename(file + "up_proj", model + "up"),
            Rename(file + "down_proj", model + "down"),
        ];
        return together ? new(all, each) : new(each, all);
    }
}
