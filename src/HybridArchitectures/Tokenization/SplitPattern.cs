using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;
using Microsoft.ML.Tokenizers;

namespace HybridArchitectures.Tokenization;

/// <summary>
/// Splits a text into pieces that are tokenized separately. The pattern is a regular expression over Unicode code points, as in tokenizer files. The
/// text between two matches is a piece too.
/// </summary>
/// <remarks>
/// Regular expressions of .NET operate on UTF-16 units. Each character beyond U+FFFF is therefore replaced by one unit of the surrogate range. All
/// characters that no class of the pattern distinguishes share one unit, and every class lists the units of its characters. A text has a time limit.
/// The .NET engine without backtracking would not need one, but the version in .NET 10 misses matches: " ?[^(]+" finds only "for" and " i" in "for
/// (int i".
/// </remarks>
sealed class SplitPattern : PreTokenizer
{
    /// <summary>
    /// Specifies the pattern of Llama 3, which splits contractions, words with one leading sign, up to three digits, signs, line breaks, spaces.
    /// </summary>
    public const string Llama3 =
        @"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    const int MaxLength = 1 << 14, FirstUnit = 0xD800, UnitCount = 0x800, FirstBeyond = 0x10000, Beyond = 0x110000;

    const double SecondsPerCharacter = 1e-5;

    static readonly TimeSpan TimeLimit = TimeSpan.FromSeconds(10);

    readonly string pattern;
    readonly Regex regex;
    readonly TimeSpan limit;

    // characters from starts[i] up to starts[i + 1] are represented by units[i]
    readonly int[] starts;
    readonly char[] units;

    /// <summary>Creates a splitter.</summary>
    /// <param name="pattern">The pattern.</param>
    /// <param name="limit">
    /// The time limit for one match, and for a text in addition to <see cref="SecondsPerCharacter"/>. The default, null, means 10 s.
    /// </param>
    /// <exception cref="FormatException">The pattern is not a regular expression, or .NET cannot express it with the same meaning.</exception>
    public SplitPattern(string pattern, TimeSpan? limit = null)
    {
        this.limit = limit ?? TimeLimit;
        if (pattern.Length > MaxLength) throw new FormatException($"the split pattern has {pattern.Length} characters; expected at most {MaxLength}");
        this.pattern = pattern;
        var parts = SplitSyntax.Read(pattern);
        var classes = parts.OfType<SplitClass>().Distinct().ToArray();
        (starts, units, var unitsOf) = AssignUnits(classes);
        var written = classes.Select((item, index) => (item, Text: item.Write(unitsOf[index]))).ToDictionary(pair => pair.item, pair => pair.Text);
        string translated = string.Concat(parts.Select(part => part is SplitClass item ? written[item] : (string)part));
        try
        {
            regex = new Regex(translated, RegexOptions.Compiled | RegexOptions.CultureInvariant, this.limit);
        }
        catch (ArgumentException error)
        {
            throw new FormatException($"the split pattern {Shown} is not a supported regular expression: {error.Message}", error);
        }
    }

    string Shown => pattern.Length > 200 ? $"\"{pattern[..200]}...\"" : $"\"{pattern}\"";

    /// <inheritdoc/>
    public override IEnumerable<(int Offset, int Length)> PreTokenize(string text) => Pieces(text);

    /// <inheritdoc/>
    public override IEnumerable<(int Offset, int Length)> PreTokenize(ReadOnlySpan<char> text) => Pieces(text);

    /// <summary>Returns the pieces in order. They cover the text, unless <paramref name="gaps"/> is false.</summary>
    /// <param name="text">The text.</param>
    /// <param name="gaps">Whether the text between matches is returned. The default is true.</param>
    /// <exception cref="InvalidDataException">The pattern exceeds the time limit on the text.</exception>
    public List<(int Offset, int Length)> Pieces(ReadOnlySpan<char> text, bool gaps = true)
    {
        bool hasPairs = text.IndexOfAnyInRange('\uD800', '\uDFFF') >= 0;
        var seen = hasPairs ? OneUnitPerCharacter(text) : text;
        var pieces = new List<(int Offset, int Length)>();
        var between = new List<int>();
        int end = 0;
        long deadline = Stopwatch.GetTimestamp() + (long)((limit.TotalSeconds + seen.Length * SecondsPerCharacter) * Stopwatch.Frequency);
        try
        {
            foreach (var match in regex.EnumerateMatches(seen))
            {
                if (Stopwatch.GetTimestamp() > deadline) throw TooSlow(text.Length, null);
                if (match.Index > end)
                {
                    between.Add(pieces.Count);
                    pieces.Add((end, match.Index - end));
                }
                // an empty match also splits
                if (match.Length > 0) pieces.Add((match.Index, match.Length));
                end = match.Index + match.Length;
            }
        }
        catch (RegexMatchTimeoutException error)
        {
            throw TooSlow(text.Length, error);
        }
        if (end < seen.Length)
        {
            between.Add(pieces.Count);
            pieces.Add((end, seen.Length - end));
        }
        if (hasPairs) WidenToUnits(text, pieces);
        return gaps ? pieces : [.. pieces.Where((_, index) => between.BinarySearch(index) < 0)];
    }

    InvalidDataException TooSlow(int length, Exception? cause) =>
        new($"the split pattern {Shown} takes more than {Seconds} s on a text of {length} characters; expected a pattern without nested repetition",
            cause);

    string Seconds => limit.TotalSeconds.ToString(CultureInfo.InvariantCulture);

    ReadOnlySpan<char> OneUnitPerCharacter(ReadOnlySpan<char> text)
    {
        var seen = new char[text.Length];
        int count = 0;
        foreach (var rune in text.EnumerateRunes()) seen[count++] = rune.IsBmp ? (char)rune.Value : UnitOf(rune.Value);
        return seen.AsSpan(0, count);
    }

    char UnitOf(int code)
    {
        int index = Array.BinarySearch(starts, code);
        return units[index >= 0 ? index : ~index - 1];
    }

    // converts positions in characters to positions in UTF-16 units; the pieces cover the text without gaps
    static void WidenToUnits(ReadOnlySpan<char> text, List<(int Offset, int Length)> pieces)
    {
        int unit = 0;
        for (int i = 0; i < pieces.Count; i++)
        {
            int start = unit;
            for (int character = 0; character < pieces[i].Length; character++) unit += char.IsHighSurrogate(text[unit]) ? 2 : 1;
            pieces[i] = (start, unit - start);
        }
    }

    // characters beyond U+FFFF that are in the same classes share a unit; the last result contains the units of each class
    (int[] Starts, char[] Units, List<char>[] UnitsOf) AssignUnits(SplitClass[] classes)
    {
        var edges = new SortedSet<int> { FirstBeyond };
        foreach (var (first, last) in classes.SelectMany(item => item.Inner.Intervals))
        {
            if (first >= FirstBeyond) edges.Add(first);
            if (last >= FirstBeyond && last + 1 < Beyond) edges.Add(last + 1);
        }
        int[] starts = [.. edges];
        var chosen = new char[starts.Length];
        var unitsOf = classes.Select(_ => new List<char>()).ToArray();
        var known = new Dictionary<string, char>(StringComparer.Ordinal);
        for (int i = 0; i < starts.Length; i++)
        {
            string held = string.Concat(classes.Select(item => item.Inner.Contains(starts[i]) ? '1' : '0'));
            if (!known.TryGetValue(held, out chosen[i]))
            {
                if (known.Count == UnitCount)
                    throw new FormatException($"the split pattern {Shown} has too many classes; expected at most {UnitCount} kinds of characters");
                chosen[i] = (char)(FirstUnit + known.Count);
                known.Add(held, chosen[i]);
                for (int item = 0; item < classes.Length; item++)
                    if (held[item] == '1') unitsOf[item].Add(chosen[i]);
            }
        }
        return (starts, chosen, unitsOf);
    }
}
