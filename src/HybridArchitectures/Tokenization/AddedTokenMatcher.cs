using System.Buffers;
using System.Globalization;
using System.Text;

namespace HybridArchitectures.Tokenization;

/// <summary>
/// Finds added tokens in a text. The leftmost token is found first; if several tokens begin at the same character, the longest one.
/// </summary>
sealed class AddedTokenMatcher
{
    // key: a node of the tree and the next character; value: the node that they lead to, and the tokens that end at a node
    readonly Dictionary<(int Node, char Next), int> tree = [];
    readonly Dictionary<int, AddedToken> ends = [];
    readonly SearchValues<string>? any;

    /// <summary>Creates a matcher.</summary>
    /// <param name="tokens">The tokens, each with the text to search for.</param>
    public AddedTokenMatcher(IEnumerable<(string Text, AddedToken Token)> tokens)
    {
        var texts = new List<string>();
        foreach (var (text, token) in tokens)
        {
            int node = 0;
            foreach (char character in text)
            {
                if (!tree.TryGetValue((node, character), out int next)) tree.Add((node, character), next = tree.Count + 1);
                node = next;
            }
            if (ends.TryAdd(node, token)) texts.Add(text);
        }
        if (texts.Count > 0) any = SearchValues.Create([.. texts], StringComparison.Ordinal);
    }

    /// <summary>
    /// Splits a text at its added tokens. A piece is the text from <c>Start</c> to <c>End</c>. <c>Token</c> is null for plain text. The pieces cover
    /// the text.
    /// </summary>
    public List<(int Start, int End, AddedToken? Token)> Cut(string text)
    {
        var pieces = new List<(int, int, AddedToken?)>();
        int covered = 0, at = 0;
        while (any is not null && at < text.Length)
        {
            int distance = text.AsSpan(at).IndexOfAny(any);
            if (distance < 0) break;
            int start = at + distance;
            var (token, length) = Longest(text, start);
            int end = at = start + length;
            if (token.SingleWord && (EndsWithWord(text.AsSpan(0, start)) || StartsWithWord(text.AsSpan(end)))) continue;
            if (token.LeftStrip)
                while (start > covered && char.IsWhiteSpace(text[start - 1])) start--;
            if (token.RightStrip)
                while (end < text.Length && char.IsWhiteSpace(text[end])) end++;
            if (start > covered) pieces.Add((covered, start, null));
            pieces.Add((start, end, token));
            covered = end;
            at = Math.Max(at, end);
        }
        if (covered < text.Length) pieces.Add((covered, text.Length, null));
        return pieces;
    }

    (AddedToken Token, int Length) Longest(string text, int start)
    {
        AddedToken? found = null;
        int length = 0, node = 0;
        for (int i = start; i < text.Length && tree.TryGetValue((node, text[i]), out node); i++)
            if (ends.TryGetValue(node, out var token)) (found, length) = (token, i + 1 - start);
        return (found!, length);
    }

    static bool StartsWithWord(ReadOnlySpan<char> text) => text.Length > 0
        && Rune.DecodeFromUtf16(text, out var rune, out _) == OperationStatus.Done && IsWord(rune);

    static bool EndsWithWord(ReadOnlySpan<char> text) => text.Length > 0
        && Rune.DecodeLastFromUtf16(text, out var rune, out _) == OperationStatus.Done && IsWord(rune);

    // \w of Unicode Technical Standard 18, annex C: alphabetic characters, marks, decimal digits, connectors and joiners
    static bool IsWord(Rune rune) => Rune.GetUnicodeCategory(rune) switch
    {
        UnicodeCategory.UppercaseLetter or UnicodeCategory.LowercaseLetter or UnicodeCategory.TitlecaseLetter or UnicodeCategory.ModifierLetter
            or UnicodeCategory.OtherLetter or UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark or UnicodeCategory.EnclosingMark
            or UnicodeCategory.DecimalDigitNumber or UnicodeCategory.LetterNumber or UnicodeCategory.ConnectorPunctuation => true,
        UnicodeCategory.Format => rune.Value is 0x200C or 0x200D,
        UnicodeCategory.OtherSymbol =>
            rune.Value is (>= 0x24B6 and <= 0x24E9) or (>= 0x1F130 and <= 0x1F149) or (>= 0x1F150 and <= 0x1F169) or (>= 0x1F170 and <= 0x1F189),
        _ => false,
    };
}
