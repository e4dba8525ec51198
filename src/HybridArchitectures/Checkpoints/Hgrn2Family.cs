using System.Text.Json.Nodes;
using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Checkpoints;

/// <summary>Implements HGRN2 (arXiv 2404.07904) as flash-linear-attention stores it.</summary>
/// <remarks>
/// A file has one tensor <c>lower_bounds</c> with a row per layer, also for layers of attention. The bound of a layer is the sum of the softmax over
/// layers, from the second layer to that layer. A model has a bound per layer, which is that sum as a logit.
/// </remarks>
sealed class Hgrn2Family() : FlaFamily("hgrn2", "HGRN2ForCausalLM")
{
    const string Bounds = "model.lower_bounds";

    // sums of float32 logits may differ by so much from increasing ones
    const double Rounding = 1e-6, MinShare = 1e-12;

    // the layers of flash-linear-attention use this epsilon whatever norm_eps says
    const double OutputEpsilon = 1e-5;

    private protected override MixerSpec ReadMixer(PretrainedConfig config, int width)
    {
        config.Only("use_short_conv", false);
        config.Only("elementwise_affine", true);
        // as the configuration class and the layers of flash-linear-attention: expand_ratio is 128 if it is absent, and num_heads decides only if
        // expand_ratio is null
        bool hasSize = !config.IsNull("expand_ratio");
        int size = hasSize ? config.Int("expand_ratio", 128) : 0;
        if (hasSize && (size < 1 || size > width)) throw config.Refusal("expand_ratio", size, $"1 to hidden_size = {width}");
        int heads = hasSize ? width / size : config.Int("num_heads");
        if (heads < 1 || width % heads != 0 || (hasSize && heads * size != width))
            throw config.Refusal(hasSize ? "expand_ratio" : "num_heads", hasSize ? size : heads, $"a divisor of hidden_size = {width}");
        config.Agree("num_heads", heads, "hidden_size / expand_ratio says");
        return new Hgrn2Spec
        {
            Heads = heads, KeyHeadSize = width / heads, ValueHeadSize = width / heads, LowerBound = config.Flag("use_lower_bound", true),
            OutputNormEpsilon = OutputEpsilon,
        };
    }

    // the first layer has no bound
    private protected override HybridDesign Read(PretrainedConfig config)
    {
        var design = base.Read(config);
        return design.Blocks[0].Mixer is not Hgrn2Spec first ? design
            : design with { Blocks = [design.Blocks[0] with { Mixer = first with { LowerBound = false } }, .. design.Blocks.Skip(1)] };
    }

    // settings of a convolution that is not there
    private protected override IReadOnlyCollection<string> Unused => [.. base.Unused, "conv_size", "share_conv_kernel"];

    private protected override void WriteMixer(HybridDesign design, JsonObject config)
    {
        var mixer = FirstOr(design, new Hgrn2Spec { Heads = 1 });
        config["num_heads"] = mixer.Heads;
        config["expand_ratio"] = mixer.KeyHeadSize;
        config["use_lower_bound"] = Bounded(design).Count > 0;
        config["use_short_conv"] = false;
        config["elementwise_affine"] = true;
    }

    private protected override IEnumerable<TensorChoice> MixerRules(string file, string model, MixerSpec spec) =>
    [
        TensorRules.Rename(file + "q_proj.weight", model + "query.weight"), TensorRules.Rename(file + "f_proj.weight", model + "forget.weight"),
        TensorRules.Rename(file + "i_proj.weight", model + "value.weight"), TensorRules.Rename(file + "o_proj.weight", model + "output.weight"),
        TensorRules.Rename(file + "g_norm.weight", model + "norm_weight"),
    ];

    internal override IEnumerable<TensorChoice> Tensors(HybridDesign design)
    {
        var layers = Bounded(design);
        if (layers.Count > 0)
            yield return TensorRule.Mapped(Bounds, [design.Depth, design.Width],
                [.. layers.Select(layer => new TensorPart(Block(layer) + "mixer.lower_bound"))],
                stored => [.. layers.Select(layer => Logit(stored, layer))], logits => Stored(logits, layers, design.Depth));
        foreach (var rule in base.Tensors(design)) yield return rule;
    }

    internal override bool IsIgnored(string name, HybridDesign design) =>
        base.IsIgnored(name, design) || (name == Bounds && Bounded(design).Count == 0);

    static IReadOnlyList<int> Bounded(HybridDesign design) =>
        [.. Enumerable.Range(0, design.Depth).Where(layer => design.Blocks[layer].Mixer is Hgrn2Spec { LowerBound: true })];

    // the logit of a sum of a softmax is a difference of logarithms of sums of exponentials
    static Tensor Logit(Tensor stored, int layer)
    {
        var rows = stored.to(ScalarType.Float64);
        var below = rows.narrow(0, 1, layer);
        var rest = cat([rows.narrow(0, 0, 1), rows.narrow(0, layer + 1, rows.size(0) - layer - 1)], 0);
        return below.logsumexp(0).sub(rest.logsumexp(0));
    }

    // each layer's share of the softmax; layers without a bound, and the first layer, share what lies between two bounds or above the last one
    static Tensor Stored(IReadOnlyList<Tensor> logits, IReadOnlyList<int> layers, int depth)
    {
        var rows = new Tensor[depth];
        var before = zeros_like(logits[0], ScalarType.Float64);
        int last = 0;
        foreach (var (logit, layer) in logits.Zip(layers))
        {
            var bound = logit.to(ScalarType.Float64).sigmoid();
            var share = (bound - before).mul(Scalars.From(1.0 / (layer - last)));
            if (share.min().item<double>() < -Rounding)
                throw Unfit($"lower bounds that fall before layer {layer + 1}",
                    "bounds that rise from layer to layer, because hgrn2 stores their sums");
            for (int row = last + 1; row <= layer; row++) rows[row] = share;
            (before, last) = (bound, layer);
        }
        var rest = ones_like(before).sub(before).mul(Scalars.From(1.0 / (depth - last)));
        for (int row = last + 1; row < depth; row++) rows[row] = rest;
        rows[0] = rest;
        return stack(rows, 0).clamp_min(Scalars.From(MinShare)).log().to(logits[0].dtype);
    }
}
