namespace HybridArchitectures.Design;

/// <summary>A unit of blocks said over and over, as OLMo's <c>block_pattern</c> of named blocks.</summary>
/// <param name="Unit">The blocks of one round.</param>
/// <param name="Repeat">How many rounds.</param>
public sealed record RepeatedPattern(EquatableList<PatternBlock> Unit, int Repeat)
{
    /// <summary>All blocks.</summary>
    public EquatableList<PatternBlock> Blocks() => Enumerable.Repeat(Unit, Repeat).SelectMany(unit => unit).ToEquatableList();

    /// <summary>The blocks of named kinds.</summary>
    /// <param name="depth">Layers; a multiple of the names.</param>
    /// <param name="names">The names of one round.</param>
    /// <param name="kinds">What each name is, as one block of a pattern string, such as <c>T</c> or <c>M~</c>.</param>
    /// <param name="overrides">Names of single layers by their 0-based place.</param>
    /// <exception cref="ArgumentException">The round does not divide the depth, a name is not known, or a place is outside.</exception>
    public static EquatableList<PatternBlock> Parse(int depth, IReadOnlyList<string> names, IReadOnlyDictionary<string, string> kinds, IReadOnlyDictionary<int, string>? overrides = null)
    {
        ArgumentNullException.ThrowIfNull(names);
        ArgumentNullException.ThrowIfNull(kinds);
        Require.That(depth is >= 1 and <= HybridDesign.MaxDepth, nameof(depth), depth, $"1 to {HybridDesign.MaxDepth}");
        Require.That(names.Count > 0 && depth % names.Count == 0, nameof(names), $"{names.Count} names", $"a number that divides depth = {depth}");
        var blocks = new RepeatedPattern(names.Select(Kind).ToEquatableList(), depth / names.Count).Blocks();
        foreach (var (place, name) in overrides ?? new Dictionary<int, string>())
        {
            Require.That(place >= 0 && place < depth, nameof(overrides), place, $"0 to {depth - 1}");
            blocks = blocks.With(place, Kind(name));
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

    /// <summary>The shortest round that gives these blocks.</summary>
    public static RepeatedPattern From(IEnumerable<PatternBlock> blocks)
    {
        ArgumentNullException.ThrowIfNull(blocks);
        var list = blocks.ToEquatableList();
        Require.That(list.Count > 0, nameof(blocks), "empty", "at least one block");
        int unit = Enumerable.Range(1, list.Count).First(length => list.Count % length == 0 && Enumerable.Range(0, list.Count).All(i => list[i] == list[i % length]));
        return new(list.Take(unit).ToEquatableList(), list.Count / unit);
    }

    /// <summary>Such as <c>8 x MMMT</c>.</summary>
    public override string ToString() => $"{Repeat} x {string.Concat(Unit)}";
}
