using System.Globalization;
using HybridArchitectures.Design;
using static HybridArchitectures.Review.DesignRules;

namespace HybridArchitectures.Review;

/// <summary>Contains the rules about what a stack can find in its context, and about the sizes of heads.</summary>
static class AttentionRules
{
    public static IReadOnlyList<DesignRule> All { get; } =
    [
        new("no-attention", "No attention in a model that must find facts in its context.", None),
        new("attention-past-training", "Only attention, for sequences longer than those in training.", PastTraining),
        new("window-alone", "Only sliding windows.", WindowAlone),
        new("no-positions", "Only attention, and no block with positions.", NoPositions),
        new("head-size", "A head size that is not a multiple of 8.", HeadSize),
        new("shared-head-size", "A head size of a shared transformer that is not a multiple of 8.", SharedHeadSize),
        new("unequal-head-sizes", "Value heads and query heads of different sizes.", UnequalHeads),
    ];

    static Evidence UnalignedHeads { get; } =
        new("fused attention loads 16 bytes (8 bfloat16 values) at once; otherwise, it uses a slow path with one score per pair of tokens",
        "github.com/Dao-AILab/flash-attention");

    static bool IsAttentionAlone(HybridDesign design) =>
        Mixers<MixerSpec>(design).Any() && Mixers<MixerSpec>(design).All(entry => entry.Mixer is AttentionSpec);

    static IEnumerable<Finding> None(HybridDesign design, ReviewOptions options)
    {
        var mixers = Mixers<MixerSpec>(design).ToList();
        if (!options.Retrieval || mixers.Count == 0 || design.Blocks.Any(block => block.Shared is not null)
            || mixers.Any(entry => entry.Mixer.Kind != MixerKind.Recurrent)) yield break;
        int layer = mixers[mixers.Count / 2].Layer, heads = design.Width / HeadSizeIn(design.Width);
        bool even = design.Width / heads % 2 == 0;
        yield return new("no-attention", Severity.Warning, null, "no block can look back at a token; the state loses distant facts.",
            new("TriviaQA 36.5 compared with 51.9 with attention, GovReport 13.1 compared with 20.6, after fine-tuning at 1B; no needle is found "
                + "at 11M, and 37 % with one attention block in six", Paper + ", Table 3; 11M: " + Repetition),
            new($".Override({layer}, block => block with {{ Mixer = new AttentionSpec {{ Heads = {heads}{(even ? ", Rotary = new()" : "")} }} }})",
                Change<MixerSpec>(layer, _ => new AttentionSpec { Heads = heads, Rotary = even ? new() : null }.Resolve(design.Width))));
    }

    // the usual sizes first; any multiple of 8 suits fused attention
    static int HeadSizeIn(int width) =>
        ((int[])[64, 128, 96, 80, 112, 48, 32, 16, 8]).FirstOrDefault(size => width % size == 0, width);

    static IEnumerable<Finding> PastTraining(HybridDesign design, ReviewOptions options)
    {
        if (options.MaxContextLength <= options.TrainingLength || !IsAttentionAlone(design)) yield break;
        if (Mixers<AttentionSpec>(design).All(entry => entry.Mixer.Window is not null)) yield break;
        yield return new("attention-past-training", Severity.Error, null,
            string.Create(CultureInfo.InvariantCulture,
                $"sequences of {options.MaxContextLength:N0} tokens after training on "
                + $"{options.TrainingLength:N0}, with attention only."),
            new("almost no needle is found beyond the 8K of training, and the loss rises with the position; hybrids work up to 1.5 times that "
                + "length; at 11M, the loss of attention rises by 0.88 nats beyond the training length",
                Paper + ", long-context section; 11M: " + Repetition),
            MostlyStateSpace(design, options));
    }

    // one attention block per five Mamba-2 blocks, as far as the depth allows
    static Remedy MostlyStateSpace(HybridDesign design, ReviewOptions options)
    {
        string longer = FormattableString.Invariant($"training on sequences of {options.MaxContextLength:N0} tokens");
        int[] layers = [.. Mixers<AttentionSpec>(design).Select(entry => entry.Layer)];
        if (layers.Length == 1) return new(longer);
        int[] kept = PlacementRule.Positions(Placement.Middle, layers.Length, Math.Max(1, PlacementRule.Count(layers.Length, 1, 5)));
        int headSize = ((int[])[64, 32, 16, 8, 4]).FirstOrDefault(size => 2 * design.Width % size == 0, 2);
        HybridDesign Mixed(HybridDesign whole) => layers.Where((_, index) => !kept.Contains(index + 1))
            .Aggregate(whole, (changed, layer) =>
            Change<AttentionSpec>(layer, _ => new Mamba2Spec { HeadSize = headSize }.Resolve(whole.Width))(changed));
        return new($".WithMamba2(headSize: {headSize}).Pattern(\"{Mixed(design).Pattern}\"), or {longer}", Mixed);
    }

    static IEnumerable<Finding> WindowAlone(HybridDesign design, ReviewOptions options)
    {
        if (!IsAttentionAlone(design) || Mixers<AttentionSpec>(design).Any(entry => entry.Mixer.Window is null)) yield break;
        var layers = Mixers<AttentionSpec>(design).ToList();
        int layer = layers[layers.Count / 2].Layer, window = layers.Max(entry => entry.Mixer.Window!.Value);
        yield return new("window-alone", Severity.Warning, null,
            FormattableString.Invariant($"no block sees more than {window:N0} tokens and the sinks."),
            new("+0.019 NLL compared with one full block in six at equal FLOPs; needles are found only inside the window", Paper + ", Table 9"),
            new($".Override({layer}, block => block with {{ Mixer = (AttentionSpec)block.Mixer! with {{ Window = null, Sinks = 0 }} }})",
                Change<AttentionSpec>(layer, spec => spec with { Window = null, Sinks = 0 })));
    }

    static IEnumerable<Finding> NoPositions(HybridDesign design, ReviewOptions options)
    {
        MixerSpec[] mixers = [.. Mixers<MixerSpec>(design).Select(entry => entry.Mixer)];
        if (mixers.Length == 0 || mixers.Any(mixer => mixer.Kind != MixerKind.Attention || mixer.HasPositions)) yield break;
        bool isShared = design.Blocks.Any(block => block.Shared is { } use && design.SharedTransformers[use.Transformer].Attention.HasPositions);
        if (isShared || design.Blocks.Any(block => block.FeedForward is MlpSpec { TokenShift: true })) yield break;
        bool even = mixers.All(mixer => RotatedSize(mixer) % 2 == 0);
        yield return new("no-positions", Severity.Warning, null, "apart from the causal mask, no block knows the position of a token.",
            new($"0 of {mixers.Length.ToString(CultureInfo.InvariantCulture)} blocks have positions; "
                + "without recurrence or convolution, they must be added; +1.262 NLL at 11M, and +0.012 and +0.014 (noise) in hybrids of 1:5 and 1:3",
                "arXiv 1706.03762, section 3.5; 11M: " + Repetition),
            new(even ? "Rotary = new RotarySpec()" : "Rotary = new RotarySpec(), and an even head size", Rotated, Safe: even));
    }

    static HybridDesign Rotated(HybridDesign design) => design with
    {
        Blocks = [.. design.Blocks.Select(block => block.Mixer is { } mixer ? block with { Mixer = Rotated(mixer) } : block)],
    };

    static MixerSpec Rotated(MixerSpec mixer)
    {
        int size = RotatedSize(mixer) + RotatedSize(mixer) % 2;
        return mixer switch
        {
            AttentionSpec attention => attention with { Rotary = new(), HeadSize = size },
            DifferentialAttentionSpec attention => attention with { Rotary = new(), HeadSize = size },
            LatentAttentionSpec attention => attention with { Rotary = new(), SharedKeySize = size },
            _ => mixer,
        };
    }

    // the size of what positions rotate
    static int RotatedSize(MixerSpec mixer) => mixer switch
    {
        AttentionSpec attention => attention.HeadSize,
        DifferentialAttentionSpec attention => attention.HeadSize,
        LatentAttentionSpec attention => attention.SharedKeySize,
        _ => 0,
    };

    static IEnumerable<Finding> HeadSize(HybridDesign design, ReviewOptions options)
    {
        foreach (var (layer, attention) in Attentions(design))
        {
            if (attention.HeadSize % 8 == 0 && attention.ValueHeadSize % 8 == 0) continue;
            int size = (attention.HeadSize + 7) / 8 * 8, valueSize = (attention.ValueHeadSize + 7) / 8 * 8;
            yield return new("head-size", Severity.Warning, layer,
                $"the head size {attention.HeadSize} (values: {attention.ValueHeadSize}) is not a multiple of 8.",
                UnalignedHeads, Possible(design, "widths that allow a head size that is a multiple of 8 in both branches",
                Resized(layer, size, valueSize)));
        }
    }

    static IEnumerable<Finding> SharedHeadSize(HybridDesign design, ReviewOptions options)
    {
        for (int i = 0; i < design.SharedTransformers.Count; i++)
        {
            var attention = design.SharedTransformers[i].Attention;
            if (attention.HeadSize % 8 == 0 && attention.ValueHeadSize % 8 == 0) continue;
            int size = (attention.HeadSize + 7) / 8 * 8, valueSize = (attention.ValueHeadSize + 7) / 8 * 8;
            yield return new("shared-head-size", Severity.Warning, null,
                $"shared transformer {i} has the head size {attention.HeadSize} (values: {attention.ValueHeadSize}), which is not a multiple of 8.",
                UnalignedHeads, Possible(design, "another rotary fraction, so that heads with a multiple of 8 can be rotated",
                SharedResized(i, size, valueSize)));
        }
    }

    static Remedy SharedResized(int index, int size, int valueSize) => new($"HeadSize = {size}, ValueHeadSize = {valueSize}", whole =>
    {
        if (index >= whole.SharedTransformers.Count) return whole;
        var transformer = whole.SharedTransformers[index];
        var attention = transformer.Attention with { HeadSize = size, ValueHeadSize = valueSize };
        return whole with { SharedTransformers = whole.SharedTransformers.With(index, transformer with { Attention = attention }) };
    });

    static IEnumerable<Finding> UnequalHeads(HybridDesign design, ReviewOptions options)
    {
        foreach (var (layer, attention) in Attentions(design))
        {
            if (attention.HeadSize == attention.ValueHeadSize) continue;
            int size = Math.Max(attention.HeadSize, attention.ValueHeadSize);
            yield return new("unequal-head-sizes", Severity.Info, layer,
                $"query heads of size {attention.HeadSize} and value heads of size {attention.ValueHeadSize} are padded to one size.",
                new(FormattableString.Invariant($"{2.0 * size / (attention.HeadSize + attention.ValueHeadSize):0.00} times the necessary FLOPs"),
                    "fused kernels support one size: github.com/Dao-AILab/flash-attention, issues 753 and 914"),
                Possible(design, "widths that allow one head size in both branches", Resized(layer, size, size),
                Resized(layer, attention.ValueHeadSize, attention.ValueHeadSize)));
        }
    }

    static Remedy Resized(int layer, int size, int valueSize) =>
        new($"HeadSize = {size}, ValueHeadSize = {valueSize}",
            ChangeAttention(layer, spec => spec with { HeadSize = size, ValueHeadSize = valueSize }));
}
