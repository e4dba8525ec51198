using System.Globalization;
using System.Text;
using HybridArchitectures.Design;

namespace HybridArchitectures.Cost;

/// <summary>Writes a design as a strip of its layers, with what each costs.</summary>
static class DesignExplanation
{
    const int BarWidth = 12;

    public static string Of(HybridDesign design, int sequenceLength)
    {
        var cost = design.Cost(sequenceLength);
        var flops = cost.Flops();
        double most = flops.Blocks.Max(block => block.Total);
        int mixerWidth = Math.Max(5, design.Blocks.Max(block => Mixer(design, block).Length)), feedWidth = Math.Max(12, design.Blocks.Max(block => FeedForward(block.FeedForward).Length));
        var text = new StringBuilder();
        text.Append(Invariant($"{design.Name ?? "design"}: width {design.Width}, vocabulary {design.Vocabulary:N0}, {design.Depth} blocks {design.Pattern}\n"));
        text.Append(Invariant($"{"layer",5}   {"mixer".PadRight(mixerWidth)}  {"feed-forward".PadRight(feedWidth)}  {"params",9}  {"MFLOP/token",11}  {"cache KiB",9}\n"));
        foreach (var ((block, parameters), operations) in design.Blocks.Zip(cost.Parameters.Blocks).Zip(flops.Blocks))
        {
            string bar = new('#', Math.Max(1, (int)Math.Round(BarWidth * operations.Total / most)));
            text.Append(Invariant($"{parameters.Position,5} {block.Mixer?.Symbol ?? "-"} {Mixer(design, block).PadRight(mixerWidth)}  {FeedForward(block.FeedForward).PadRight(feedWidth)}  "));
            text.Append(Invariant($"{parameters.Total / 1e6,8:N2}M  {3 * operations.Total / 1e6,11:N1}  {CacheSize.Of(design, block, sequenceLength, 2).Total / 1024.0,9:N1}  {bar}\n"));
        }
        for (int i = 0; i < design.SharedTransformers.Count; i++)
            text.Append(Invariant($"{"",5}   {$"shared transformer {i}".PadRight(mixerWidth)}  {FeedForward(design.SharedTransformers[i].FeedForward).PadRight(feedWidth)}  {design.SharedTransformers[i].CountParameters(design.Width) / 1e6,8:N2}M\n"));
        string head = design.TiedHead ? "embedding, also head" : "embedding and head";
        text.Append(Invariant($"{"",5}   {head.PadRight(mixerWidth)}  {"".PadRight(feedWidth)}  {(cost.Parameters.Embedding + cost.Parameters.Head) / 1e6,8:N2}M\n"));
        text.Append(Invariant($"{"",5}   {"all".PadRight(mixerWidth)}  {"".PadRight(feedWidth)}  {cost.Parameters.Total / 1e6,8:N2}M  {flops.Training / 1e6,11:N1}  {cost.Cache().Total / 1024.0,9:N1}\n"));
        text.Append(Invariant($"texts of {sequenceLength:N0} tokens; training operations without embedding and head; cache of one row in bfloat16\n"));
        return text.ToString();
    }

    static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);

    static string Mixer(HybridDesign design, BlockSpec block) => block.Shared is { } use
        ? Invariant($"{Mixer(block.Mixer)} + shared {use.Transformer} ({Mixer(design.SharedTransformers[use.Transformer].Attention)})") : Mixer(block.Mixer);

    static string Mixer(MixerSpec? mixer) => mixer switch
    {
        null => "none",
        AttentionSpec attention => Invariant($"attention {Attention(attention)}{(attention.Window is { } window ? $", window {window}+{attention.Sinks}" : "")}"),
        Mamba1Spec mamba => Invariant($"Mamba-1 {mamba.InnerWidth}, state {mamba.StateSize}"),
        Mamba2Spec mamba => Invariant($"Mamba-2 {mamba.Heads}x{mamba.HeadSize}, state {mamba.StateSize}"),
        GatedDeltaSpec delta => Invariant($"gated delta {delta.ValueHeads}({delta.KeyHeads})x{delta.KeyHeadSize}") + (delta.ValueHeadSize == delta.KeyHeadSize ? "" : Invariant($"/{delta.ValueHeadSize}")),
        ShortConvolutionSpec convolution => Invariant($"short convolution of {convolution.ConvolutionWidth}"),
        IntraHybridSpec intra => Invariant($"{Mixer(intra.Attention)} | {Mixer(intra.StateSpace)}, {intra.Fusion.ToString().ToLowerInvariant()}"),
        _ => mixer.GetType().Name,
    };

    static string Attention(AttentionSpec attention) => Invariant($"{attention.Heads}({attention.KeyValueHeads})x{attention.HeadSize}")
        + (attention.ValueHeadSize == attention.HeadSize ? "" : Invariant($"/{attention.ValueHeadSize}"));

    static string FeedForward(FeedForwardSpec feedForward) => feedForward switch
    {
        NoFeedForward => "none",
        SwiGluSpec swiglu => Invariant($"SwiGLU {swiglu.Width}"),
        MlpSpec mlp => Invariant($"MLP {mlp.Width}"),
        MixtureOfExpertsSpec experts => Invariant($"experts {experts.ExpertsPerToken}/{experts.Experts}x{experts.ExpertWidth}") + (experts.SharedWidth > 0 ? Invariant($"+{experts.SharedWidth}") : ""),
        _ => feedForward.GetType().Name,
    };
}
