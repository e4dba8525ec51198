using System.Globalization;
using System.Text;
using HybridArchitectures.Design;

namespace HybridArchitectures.Cost;

/// <summary>Prints a design as a list of its layers with the cost of each.</summary>
static class DesignExplanation
{
    const int BarWidth = 12;

    public static string Create(HybridDesign design, int sequenceLength)
    {
        var cost = design.Cost(sequenceLength);
        var flops = cost.Flops();
        double max = flops.Blocks.Max(block => block.Total);
        string head = design.TiedHead ? "embedding, also head" : "embedding and head";
        string[] mixers = [.. design.Blocks.Select(block => Mixer(design, block))];
        string[] feedForwards = [.. design.Blocks.Select(block => FeedForward(block.FeedForward))];
        var table = new Table(Math.Max(head.Length, mixers.Max(name => name.Length)), Math.Max(12, feedForwards.Max(name => name.Length)));
        table.Add("layer", " ", "mixer", "feed-forward", "params", "FLOPs/token", "cache");
        for (int i = 0; i < design.Depth; i++)
        {
            string bar = new('#', Math.Max(1, (int)Math.Round(BarWidth * flops.Blocks[i].Total / max)));
            table.Add(Invariant($"{i + 1}"), design.Blocks[i].Mixer?.Symbol ?? "-", mixers[i], feedForwards[i],
                Units.Count(cost.Parameters.Blocks[i].Total),
                Units.Flops(3 * flops.Blocks[i].Total), Units.Bytes(CacheSize.FromDesign(design, design.Blocks[i], sequenceLength, 2).Total), bar);
        }
        for (int i = 0; i < design.SharedTransformers.Count; i++)
        {
            var transformer = design.SharedTransformers[i];
            table.Add("", " ", $"shared transformer {i}", FeedForward(transformer.FeedForward),
                Units.Count(transformer.CountParameters(design.Width)));
        }
        table.Add("", " ", head, "", Units.Count(cost.Parameters.Embedding + cost.Parameters.Head));
        table.Add("", " ", "all", "", Units.Count(cost.Parameters.Total), Units.Flops(flops.Training), Units.Bytes(cost.Cache().Total));
        return Invariant($"{design.Name ?? "design"}: width {design.Width}, vocabulary {design.VocabularySize:N0}, ")
            + Invariant($"{design.Depth} blocks {design.Pattern}\n") + table
            + Invariant($"sequence length {sequenceLength:N0}; training FLOPs without embedding and head; cache of one row in bfloat16\n");
    }

    /// <summary>Formats columns of fixed widths.</summary>
    sealed class Table(int mixerWidth, int feedForwardWidth)
    {
        readonly StringBuilder text = new();

        public void Add(string layer, string symbol, string mixer, string feedForward, string parameters, string operations = "", string cache = "",
            string bar = "") =>
            text.Append(
                $"{layer,5} {symbol} {mixer.PadRight(mixerWidth)}  {feedForward.PadRight(feedForwardWidth)}  {parameters,7}  {operations,11}  "
                + $"{cache,8}  {bar}".TrimEnd())
                .Append('\n');

        public override string ToString() => text.ToString();
    }

    static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);

    static string Mixer(HybridDesign design, BlockSpec block) => block.Shared is { } use
        ? Invariant($"{Mixer(block.Mixer)} + shared {use.Transformer} ({Mixer(design.SharedTransformers[use.Transformer].Attention)})")
        : Mixer(block.Mixer);

    static string Mixer(MixerSpec? mixer) => mixer?.Describe().Summary ?? "none";

    static string FeedForward(FeedForwardSpec feedForward) => feedForward switch
    {
        NoFeedForward => "none",
        SwiGluSpec swiglu => Invariant($"SwiGLU {swiglu.Width}"),
        MlpSpec mlp => Invariant($"MLP {mlp.Width}{(mlp.TokenShift ? " with shift" : "")}"),
        MixtureOfExpertsSpec experts => Invariant($"experts {experts.ExpertsPerToken}/{experts.Experts}x{experts.ExpertWidth}")
        + (experts.SharedWidth > 0 ? Invariant($"+{experts.SharedWidth}") : ""),
        _ => feedForward.GetType().Name,
    };
}
