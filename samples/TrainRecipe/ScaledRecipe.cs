using HybridArchitectures.Design;

namespace TrainRecipe;

/// <summary>
/// Creates a recipe of another width. It has the same blocks in the same order, all widths in proportion, and fewer and smaller heads.
/// </summary>
static class ScaledRecipe
{
    const int MinHeadSize = 16, MinStateHeadSize = 32;

    public static HybridDesign FromDesign(HybridDesign design, int vocabulary, int? width)
    {
        if (width is null || width == design.Width) return design with { VocabularySize = vocabulary };
        double factor = (double)width.Value / design.Width;
        return new HybridDesign
        {
            Name = $"{design.Name} at width {width}", VocabularySize = vocabulary, Width = width.Value, TiedHead = design.TiedHead,
            NormEpsilon = design.NormEpsilon, Initialisation = design.Initialisation,
            Blocks = [.. design.Blocks.Select(
            block => block with { Mixer = block.Mixer is null ? null : Mixer(block.Mixer, factor, width.Value),
                FeedForward = FeedForward(block.FeedForward, factor) })],
        }.Resolve();
    }

    static MixerSpec Mixer(MixerSpec mixer, double factor, int width) => mixer switch
    {
        AttentionSpec attention => Attention(attention, factor),
        Mamba2Spec mamba => Mamba2(mamba, factor, width, Heads(mamba.Heads, mamba.InnerWidth * factor, MinStateHeadSize)),
        IntraHybridSpec { StateSpace: Mamba2Spec mamba } intra => intra with
        {
            Attention = Attention(intra.Attention, factor),
            StateSpace = Mamba2(mamba, factor, width, Attention(intra.Attention, factor).Heads),     // as many heads on either side
        },
        _ => throw new ArgumentException($"a {mixer.GetType().Name} has no other width here"),
    };

    static AttentionSpec Attention(AttentionSpec attention, double factor)
    {
        int heads = Heads(attention.Heads, attention.Heads * attention.HeadSize * factor, MinHeadSize);
        int keyValueHeads = Math.Max(1, attention.KeyValueHeads * heads / attention.Heads);
        while (heads % keyValueHeads != 0) keyValueHeads--;
        int Size(int size) => Math.Max(8, 8 * (int)Math.Round(attention.Heads * size * factor / heads / 8));
        return attention with { Heads = heads, KeyValueHeads = keyValueHeads, HeadSize = Size(attention.HeadSize),
            ValueHeadSize = Size(attention.ValueHeadSize) };
    }

    static Mamba2Spec Mamba2(Mamba2Spec mamba, double factor, int width, int heads) => mamba with
    {
        Heads = heads, HeadSize = Math.Max(8, 8 * (int)Math.Round(mamba.InnerWidth * factor / heads / 8)),
        StateSize = Math.Min(mamba.StateSize, Math.Max(16, width / 4)),
    };

    /// <summary>Returns the largest divisor of the recipe's number of heads with which each head has a size.</summary>
    static int Heads(int heads, double width, int minSize) =>
        Enumerable.Range(1, heads).Last(fewer => heads % fewer == 0 && (fewer == 1 || width / fewer >= minSize));

    static FeedForwardSpec FeedForward(FeedForwardSpec feedForward, double factor)
    {
        int Width(int width) => width == 0 ? 0 : Math.Max(8, 8 * (int)Math.Round(width * factor / 8));
        return feedForward switch
        {
            SwiGluSpec swiglu => swiglu with { Width = Width(swiglu.Width) },
            MixtureOfExpertsSpec experts => experts with { ExpertWidth = Width(experts.ExpertWidth), SharedWidth = Width(experts.SharedWidth) },
            _ => feedForward,
        };
    }
}
