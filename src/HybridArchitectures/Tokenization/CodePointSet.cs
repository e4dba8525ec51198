using System.Globalization;

namespace HybridArchitectures.Tokenization;

/// <summary>Represents a set of Unicode scalar values as ascending intervals that do not touch. Surrogates are never part of it.</summary>
sealed class CodePointSet
{
    const int Last = 0x10FFFF, FirstSurrogate = 0xD800, LastSurrogate = 0xDFFF;

    static readonly Lazy<IReadOnlyDictionary<string, CodePointSet>> Categories = new(ReadCategories);

    readonly (int First, int Last)[] intervals;

    CodePointSet((int, int)[] intervals) => this.intervals = intervals;

    public static CodePointSet Empty { get; } = new([]);

    public static CodePointSet All { get; } = Range(0, Last);

    /// <summary>Gets the characters that <c>\s</c> matches. They have the Unicode property White_Space.</summary>
    public static CodePointSet WhiteSpace { get; } =
        Normalized(Enumerable.Range(0, 0x10000).Where(code => char.IsWhiteSpace((char)code)).Select(code => (code, code)));

    public IReadOnlyList<(int First, int Last)> Intervals => intervals;

    public bool IsEmpty => intervals.Length == 0;

    /// <summary>Returns the scalar values from <paramref name="first"/> to <paramref name="last"/>, including both.</summary>
    public static CodePointSet Range(int first, int last) => Normalized([(first, last)]);

    /// <summary>Returns a general category ("Lu") or a group of categories ("L"). Returns null for an unknown name.</summary>
    public static CodePointSet? Category(string name) => Categories.Value.GetValueOrDefault(name);

    public bool Contains(int code)
    {
        int low = 0, high = intervals.Length - 1;
        while (low <= high)
        {
            int middle = (low + high) / 2;
            if (code < intervals[middle].First) high = middle - 1;
            else if (code > intervals[middle].Last) low = middle + 1;
            else return true;
        }
        return false;
    }

    public CodePointSet Union(CodePointSet other) => Normalized([.. intervals, .. other.intervals]);

    public CodePointSet Complement()
    {
        var result = new List<(int, int)>();
        int next = 0;
        foreach (var (first, last) in intervals)
        {
            if (first > next) result.Add((next, first - 1));
            next = last + 1;
        }
        if (next <= Last) result.Add((next, Last));
        return Normalized(result);
    }

    public CodePointSet Intersect(CodePointSet other) => Complement().Union(other.Complement()).Complement();

    // sorts and joins the intervals, and removes surrogates
    static CodePointSet Normalized(IEnumerable<(int First, int Last)> given)
    {
        var sorted = new List<(int First, int Last)>();
        foreach (var (first, last) in given)
        {
            if (first < FirstSurrogate) sorted.Add((first, Math.Min(last, FirstSurrogate - 1)));
            if (last > LastSurrogate) sorted.Add((Math.Max(first, LastSurrogate + 1), last));
        }
        sorted.Sort();
        var result = new List<(int First, int Last)>();
        foreach (var interval in sorted)
        {
            if (result.Count > 0 && interval.First <= result[^1].Last + 1) result[^1] = (result[^1].First, Math.Max(result[^1].Last, interval.Last));
            else result.Add(interval);
        }
        return new([.. result]);
    }

    static Dictionary<string, CodePointSet> ReadCategories()
    {
        // in the order of the enum UnicodeCategory
        string[] names =
        [
            "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co", "Pc", "Pd", "Ps", "Pe", "Pi",
                "Pf", "Po",
            "Sm", "Sc", "Sk", "So", "Cn",
        ];
        var found = names.ToDictionary(name => name, _ => new List<(int, int)>(), StringComparer.Ordinal);
        int start = 0;
        for (int code = 1; code <= Last + 1; code++)
        {
            var category = CharUnicodeInfo.GetUnicodeCategory(start);
            if (code <= Last && CharUnicodeInfo.GetUnicodeCategory(code) == category) continue;
            found[names[(int)category]].Add((start, code - 1));
            start = code;
        }
        foreach (string group in (string[])["L", "M", "N", "Z", "C", "P", "S"])
            found[group] = [.. names.Where(name => name[0] == group[0]).SelectMany(name => found[name])];
        return found.ToDictionary(item => item.Key, item => Normalized(item.Value), StringComparer.Ordinal);
    }
}
