using System.Globalization;
using System.Text;

namespace HybridArchitectures.Tokenization;

/// <summary>Represents a class of characters in a split pattern.</summary>
/// <param name="Inner">The characters of the class or, if <paramref name="IsNegated"/> is true, the characters outside it.</param>
/// <param name="Items">The notation of .NET for the part of the set up to U+FFFF. Null if it must be written interval by interval.</param>
/// <param name="IsNegated">Whether the class contains every character outside <paramref name="Inner"/>.</param>
sealed record SplitClass(CodePointSet Inner, string? Items, bool IsNegated = false)
{
    /// <summary>Gets the characters of the class.</summary>
    public CodePointSet Set => IsNegated ? Inner.Complement() : Inner;

    public static SplitClass Literal(int code) => Interval(code, code);

    public static SplitClass Interval(int first, int last)
    {
        var set = CodePointSet.Range(first, last);
        return new(set, Write(set));
    }

    public SplitClass Negated() => this with { IsNegated = !IsNegated };

    /// <summary>Returns the class as an item of another class.</summary>
    public SplitClass Nested() => IsNegated ? new(Set, null) : this;

    public SplitClass Union(SplitClass other) =>
        new(Inner.Union(other.Inner), Items is not null && other.Items is not null ? Items + other.Items : null);

    /// <summary>Writes the class for .NET.</summary>
    /// <param name="units">The UTF-16 units that represent the characters beyond U+FFFF in <see cref="Inner"/>.</param>
    public string Write(IEnumerable<char> units)
    {
        string items = (Items ?? Write(Inner)) + string.Concat(units.Select(Unit));
        if (items.Length > 0) return $"[{(IsNegated ? "^" : "")}{items}]";
        return IsNegated ? @"[\s\S]" : @"[^\s\S]";
    }

    static string Write(CodePointSet set)
    {
        var text = new StringBuilder();
        foreach (var (first, last) in set.Intervals)
        {
            if (first > char.MaxValue) break;
            text.Append(Unit((char)first));
            if (last > first) text.Append('-').Append(Unit((char)Math.Min(last, char.MaxValue)));
        }
        return text.ToString();
    }

    static string Unit(char unit) => char.IsAsciiLetterOrDigit(unit) ? unit.ToString()
        : string.Create(CultureInfo.InvariantCulture, $"\\u{(int)unit:X4}");
}
