using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using Microsoft.ML.Tokenizers;

namespace HybridArchitectures.Tokenization;

/// <summary>
/// Cuts a text into the pieces that are tokenised each by itself, by a regular expression over Unicode code points as tokenizer files hold it; what lies between
/// two matches is a piece too. .NET's expressions see UTF-16 units, so a character beyond U+FFFF is shown to them as one unit of the same general category.
/// </summary>
sealed partial class SplitPattern : PreTokenizer
{
    /// <summary>Llama 3's pattern: contractions, words with one leading sign, up to three digits, signs, line breaks, blanks.</summary>
    public const string Llama3 =
        @"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    // one unit for each general category, none of them a letter that a pattern names
    static readonly Dictionary<UnicodeCategory, char> Stand = new()
    {
        [UnicodeCategory.UppercaseLetter] = '\u0100', [UnicodeCategory.LowercaseLetter] = '\u0101', [UnicodeCategory.TitlecaseLetter] = '\u01C5',
        [UnicodeCategory.ModifierLetter] = '\u02B0', [UnicodeCategory.OtherLetter] = '\u01BB', [UnicodeCategory.NonSpacingMark] = '\u0300',
        [UnicodeCategory.SpacingCombiningMark] = '\u0903', [UnicodeCategory.EnclosingMark] = '\u0488', [UnicodeCategory.DecimalDigitNumber] = '\u0660',
        [UnicodeCategory.LetterNumber] = '\u2160', [UnicodeCategory.OtherNumber] = '\u00B2', [UnicodeCategory.SpaceSeparator] = '\u2003',
        [UnicodeCategory.LineSeparator] = '\u2028', [UnicodeCategory.ParagraphSeparator] = '\u2029', [UnicodeCategory.Control] = '\u0080',
        [UnicodeCategory.Format] = '\u00AD', [UnicodeCategory.PrivateUse] = '\uE000', [UnicodeCategory.ConnectorPunctuation] = '\u203F',
        [UnicodeCategory.DashPunctuation] = '\u2010', [UnicodeCategory.OpenPunctuation] = '\u2045', [UnicodeCategory.ClosePunctuation] = '\u2046',
        [UnicodeCategory.InitialQuotePunctuation] = '\u00AB', [UnicodeCategory.FinalQuotePunctuation] = '\u00BB', [UnicodeCategory.OtherPunctuation] = '\u00A1',
        [UnicodeCategory.MathSymbol] = '\u00B1', [UnicodeCategory.CurrencySymbol] = '\u00A2', [UnicodeCategory.ModifierSymbol] = '\u00A8',
        [UnicodeCategory.OtherSymbol] = '\u00A6', [UnicodeCategory.OtherNotAssigned] = '\u0378',
    };

    readonly Regex regex;

    /// <summary>A splitter by a pattern.</summary>
    /// <exception cref="FormatException">The pattern is no regular expression, or uses what .NET reads otherwise than the tokenizer's own library.</exception>
    public SplitPattern(string pattern)
    {
        try
        {
            regex = new Regex(Translate(pattern), RegexOptions.Compiled | RegexOptions.CultureInvariant);
        }
        catch (ArgumentException error)
        {
            throw new FormatException($"the split pattern {pattern} is not a regular expression here: {error.Message}", error);
        }
    }

    /// <inheritdoc/>
    public override IEnumerable<(int Offset, int Length)> PreTokenize(string text) => Pieces(text);

    /// <inheritdoc/>
    public override IEnumerable<(int Offset, int Length)> PreTokenize(ReadOnlySpan<char> text) => Pieces(text);

    /// <summary>The pieces in order; they cover the text, unless the <paramref name="gaps"/> between matches are to be left out.</summary>
    public List<(int Offset, int Length)> Pieces(ReadOnlySpan<char> text, bool gaps = true)
    {
        bool hasPairs = text.IndexOfAnyInRange('\uD800', '\uDFFF') >= 0;
        var seen = hasPairs ? OneUnitPerCharacter(text) : text;
        var pieces = new List<(int Offset, int Length)>();
        var between = new List<int>();
        int end = 0;
        foreach (var match in regex.EnumerateMatches(seen))
        {
            if (match.Length == 0) continue;
            if (match.Index > end)
            {
                between.Add(pieces.Count);
                pieces.Add((end, match.Index - end));
            }
            pieces.Add((match.Index, match.Length));
            end = match.Index + match.Length;
        }
        if (end < seen.Length)
        {
            between.Add(pieces.Count);
            pieces.Add((end, seen.Length - end));
        }
        if (hasPairs) WidenToUnits(text, pieces);
        return gaps ? pieces : [.. pieces.Where((_, index) => between.BinarySearch(index) < 0)];
    }

    static ReadOnlySpan<char> OneUnitPerCharacter(ReadOnlySpan<char> text)
    {
        var seen = new char[text.Length];
        int count = 0;
        foreach (var rune in text.EnumerateRunes()) seen[count++] = rune.IsBmp ? (char)rune.Value : Stand[Rune.GetUnicodeCategory(rune)];
        return seen.AsSpan(0, count);
    }

    // from characters to the UTF-16 units of the text; the pieces cover it without gaps
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

    /// <summary>The same expression for .NET: only what both dialects read alike passes, and "s" without regard to case also means U+017F, which .NET leaves out.</summary>
    static string Translate(string pattern)
    {
        FormatException Refuse(string what) => new($"the split pattern {pattern} uses {what}, which is not read alike everywhere");
        var result = new StringBuilder();
        var ignoresCase = new Stack<bool>([false]);
        bool inClass = false;
        foreach (Match part in Parts().Matches(pattern))
        {
            string text = part.Value;
            if (text.StartsWith('\\'))
            {
                bool known = text[1] is 'p' or 'P' ? GeneralCategory().IsMatch(text[2..]) : "rntsSd".Contains(text[1]) || char.IsPunctuation(text[1]) || char.IsSymbol(text[1]);
                if (!known) throw Refuse(text);
            }
            else if (inClass)
            {
                if (text is "[" or "&&") throw Refuse($"\"{text}\" inside a class");
                if (text == "]") inClass = false;
                else if (ignoresCase.Peek() && text is "s" or "S") text += '\u017F';
            }
            else if (text.StartsWith('('))
            {
                if (text is not ("(" or "(?:" or "(?i:" or "(?!" or "(?=")) throw Refuse(text);
                ignoresCase.Push(text == "(?i:" || ignoresCase.Peek());
            }
            else if (text == ")")
            {
                if (ignoresCase.Count > 1) ignoresCase.Pop();
            }
            else if (text is "^" or "$") throw Refuse($"\"{text}\"");
            else if (text.StartsWith('[')) inClass = true;
            else if (ignoresCase.Peek() && text is "s" or "S") text = $"[{text}\u017F]";
            result.Append(text);
        }
        return result.ToString();
    }

    [GeneratedRegex(@"\\[pP]\{[^}]*\}|\\.|\(\?[^\p{L})]|\(\?\p{L}*:?|&&|\[\^?|.", RegexOptions.Singleline | RegexOptions.CultureInvariant)]
    private static partial Regex Parts();

    [GeneratedRegex(@"^\{[LMNPSZC][a-z]?\}$", RegexOptions.CultureInvariant)]
    private static partial Regex GeneralCategory();
}
