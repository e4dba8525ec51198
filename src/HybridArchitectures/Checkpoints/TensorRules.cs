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
    public static TensorChoice Experts(string file, string model, MixtureOfExpertsSpec spec)
    {
        string[] matrices = spec.Gated ? ["gate", "up", "down"] : ["up", "down"];
        var each = Enumerable.Range(0, spec.Experts).SelectMany(expert =>
            matrices.Select(matrix => new TensorRule($"{file}{expert}.{matrix}_proj.weight", [new(model + matrix, expert)])));
        TensorRule[] together =
        [
            spec.Gated ? new(file + "gate_up_proj", [new(model + "gate"), new(model + "up")], Dimension: 1) : Rename(file + "up_proj", model + "up"),
            Rename(file + "down_proj", model + "down"),
        ];
        return new([.. each], together);
    }
}
