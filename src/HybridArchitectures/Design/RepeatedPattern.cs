
namespace HybridArchitectures.Design;

/// <summary>Represents a unit of blocks that is repeated, as in <c>block_pattern</c> of OLMo.</summary>
/// <param name="Unit">The blocks of the unit.</param>
/// <param name="Repeat">The number of repetitions.</param>
public sealed record RepeatedPattern(EquatableList<PatternBlock> Unit, int Repeat)
{
    /// <summary>Returns all blocks.</summary>
    public EquatableList<PatternBlock> Blocks() => Enumerable.Repeat(Unit, Repeat).SelectMany(unit => unit).ToEquatableList();

    /// <summary>Returns the blocks of named kinds.</summary>
    /// <param name="depth">The number of layers, a multiple of the number of names.</param>
    /// <param name="names">The names of one unit.</param>
    /// <param name="kinds">The block of each name in pattern notation, for example <c>T</c> or <c>M~</c>.</param>
    /// <param name="overrides">The names of single layers by their index, counted from 0. The default, null, means none.</param>
    /// <exception cref="ArgumentException">The unit does not divide the depth, a name is unknown, or an index is out of range.</exception>
    public static EquatableList<PatternBlock> Parse(
        int depth, IReadOnlyList<string> names, IReadOnlyDictionary<string, string> kinds, IReadOnlyDictionary<int, string>? overrides = null)
    {
        Require.Items(names);
        Require.Values(kinds);
        if (overrides is not null) Require.Values(overrides);
        Require.That(depth is >= 1 and <= HybridDesign.MaxDepth, nameof(depth), depth, $"1 to {HybridDesign.MaxDepth}");
        Require.That(names.Count > 0 && depth % names.Count == 0, nameof(names), $"{names.Count} names", $"a number that divides depth = {depth}");
        var blocks = new RepeatedPattern(names.Select(Kind).ToEquatableList(), depth / names.Count).Blocks();
        foreach (var (position, name) in overrides ?? new Dictionary<int, string>())
        {
            Require.That(position >= 0 && position < depth, nameof(overrides), position, $"0 to {depth - 1}");
            blocks = blocks.With(position, Kind(name));
        }
        return blocks;

        PatternBlock Kind(string name)
        {
            Require.That(kinds.ContainsKey(name), nameof(names), name, $"one of {string.Join(", ", kinds.Keys)}");
            var parsed = BlockPattern.Parse(kinds[name]);
            Require.That(parsed.Count == 1, nameof(kinds), kinds[name], $"one block for \"{name}\"");
            return parsed[0];
        }
    }

    /// <summary>Returns the smallest unit whose repetition gives these blocks.</summary>
    public static RepeatedPattern From(IEnumerable<PatternBlock> blocks)
    {
        var list = Require.EachItem(blocks).ToEquatableList();
        Require.That(list.Count > 0, nameof(blocks), "empty", "at least one block");
        int unit = Enumerable.Range(1, list.Count)
            .First(length => list.Count % length == 0 && Enumerable.Range(0, list.Count).All(i => list[i] == list[i % length]));
        return new(list.Take(unit).ToEquatableList(), list.Count / unit);
    }

    /// <summary>Returns unit and repetitions as text, for example <c>8 x MMMT</c>.</summary>
    public override string ToString() => $"{Repeat} x {string.Concat(Unit)}";
}
