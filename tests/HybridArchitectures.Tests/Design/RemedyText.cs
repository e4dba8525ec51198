using System.Globalization;
using System.Reflection;
using System.Text.RegularExpressions;
using HybridArchitectures.Design;
using HybridArchitectures.Review;

namespace HybridArchitectures.Tests.Design;

/// <summary>Changes a design as the text of a remedy says, like a reader would.</summary>
static partial class RemedyText
{
    /// <summary>
    /// Returns the design after the remedy. Null means that the text leaves the choice to the reader, or speaks of more than blocks.
    /// </summary>
    public static HybridDesign? Apply(Finding finding, HybridDesign design)
    {
        string text = finding.Remedy.ToString();
        if (PatternCall().Match(text) is { Success: true } pattern)
            return WithPattern(design, pattern.Groups["size"].Value, pattern.Groups["pattern"].Value);
        if (NewAttention().Match(text) is { Success: true } added)
        {
            var attention = new AttentionSpec { Heads = Number(added.Groups["heads"]), Rotary = added.Groups["rotary"].Success ? new() : null };
            return Replace(design, Number(added.Groups["layer"]), block => block with { Mixer = attention });
        }
        if (WiderWindow().Match(text) is { Success: true } wider)
            return Replace(design, Number(wider.Groups["layer"]),
                block => block with { Mixer = (AttentionSpec)block.Mixer! with { Window = null, Sinks = 0 } });
        if (!Assignments().IsMatch(text) || finding.Layers.Count == 0) return null;
        return finding.Layers.Aggregate(design, (changed, layer) => Replace(changed, layer, block => Assigned(block, finding.Rule, text)));
    }

    static HybridDesign Replace(HybridDesign design, int layer, Func<BlockSpec, BlockSpec> change) =>
        (design with { Blocks = design.Blocks.With(layer - 1, change(design.Blocks[layer - 1])) }).Resolve();

    // only where a letter means one mixer, as in a builder
    static HybridDesign? WithPattern(HybridDesign design, string headSize, string pattern)
    {
        var kinds = design.Blocks.Select(block => block.Mixer).OfType<MixerSpec>().Distinct().ToList();
        var feedForwards = design.Blocks.Select(block => block.FeedForward).Distinct().ToList();
        if (kinds.Select(kind => kind.Symbol).Distinct().Count() != kinds.Count || feedForwards.Count != 1) return null;
        if (design.Blocks.Select(block => block.NormEpsilon).Distinct().Count() != 1) return null;
        var builder = kinds.Aggregate(HybridDesign.Create(design.Width, design.VocabularySize), (start, kind) => start.WithMixer(kind));
        if (headSize.Length > 0) builder = builder.WithMamba2(headSize: int.Parse(headSize, CultureInfo.InvariantCulture));
        return builder.WithFeedForward(feedForwards[0]).NormEpsilon(design.Blocks[0].NormEpsilon).Pattern(pattern).Build();
    }

    // properties of the mixer, of a branch of it, or of the feed-forward, whichever has all of them
    static BlockSpec Assigned(BlockSpec block, string rule, string text)
    {
        if (rule == "expert-balance") return block with { FeedForward = (FeedForwardSpec)Assigned(block.FeedForward, text)! };
        if (block.Mixer is IntraHybridSpec intra && !rule.StartsWith("intra", StringComparison.Ordinal))
        {
            bool attention = rule.EndsWith("head-size", StringComparison.Ordinal) || rule == "unequal-head-sizes";
            return block with { Mixer = attention ? intra with { Attention = (AttentionSpec)Assigned(intra.Attention, text) }
                : intra with { StateSpace = (MixerSpec)Assigned(intra.StateSpace, text) } };
        }
        if (rule == "intra-narrow-attention")
        {
            var narrow = (IntraHybridSpec)block.Mixer!;
            return block with { Mixer = narrow with { Attention = (AttentionSpec)Assigned(
                narrow.Attention, text[(text.IndexOf('{') + 2)..text.IndexOf(" }", StringComparison.Ordinal)]) } };
        }
        return block with { Mixer = (MixerSpec)Assigned(block.Mixer!, text) };
    }

    static object Assigned(object spec, string text)
    {
        object copy = spec.GetType().GetMethod("<Clone>$")!.Invoke(spec, null)!;
        foreach (Match assignment in Assignment().Matches(text))
        {
            var property = spec.GetType().GetProperty(assignment.Groups["name"].Value)
                ?? throw new InvalidOperationException($"{spec.GetType().Name} has no {assignment.Groups["name"].Value}: {text}");
            property.SetValue(copy, Value(property, assignment.Groups["value"].Value));
        }
        return copy;
    }

    static object? Value(PropertyInfo property, string text)
    {
        var type = Nullable.GetUnderlyingType(property.PropertyType) ?? property.PropertyType;
        if (text.StartsWith("new RotarySpec(", StringComparison.Ordinal)) return new RotarySpec();
        if (type == typeof(Interval))
        {
            double[] ends = [.. text["new(".Length..^1].Split(", ").Select(end => double.Parse(end, CultureInfo.InvariantCulture))];
            return new Interval(ends[0], ends[1]);
        }
        return type.IsEnum ? Enum.Parse(type, text.Split('.')[1]) : Convert.ChangeType(text, type, CultureInfo.InvariantCulture);
    }

    static int Number(Group group) => int.Parse(group.Value, CultureInfo.InvariantCulture);

    [GeneratedRegex("""^(\.WithMamba2\(headSize: (?<size>\d+)\))?\.Pattern\("(?<pattern>[^"]+)"\)""")]
    private static partial Regex PatternCall();

    [GeneratedRegex(
        """^\.Override\((?<layer>\d+), block => block with \{ Mixer = new AttentionSpec \{ Heads = (?<heads>\d+)(?<rotary>, Rotary = new\(\))? \} \}\)$""")]
    private static partial Regex NewAttention();

    [GeneratedRegex(
        """^\.Override\((?<layer>\d+), block => block with \{ Mixer = \(AttentionSpec\)block\.Mixer! with \{ Window = null, Sinks = 0 \} \}\)$""")]
    private static partial Regex WiderWindow();

    [GeneratedRegex("""^[A-Z]\w* = """)]
    private static partial Regex Assignments();

    [GeneratedRegex("""(?<name>[A-Z]\w*) = (?<value>new\([^)]*\)|new RotarySpec\(\)|[\w.-]+)""")]
    private static partial Regex Assignment();
}
