namespace HybridArchitectures.Tokenization;

/// <summary>Removes white space at both ends of a token from its span, if the file of the tokenizer requests it (<c>trim_offsets</c>).</summary>
/// <param name="KeepsFirst">Whether one space before the first token is kept, as if it had been added (<c>add_prefix_space</c>).</param>
sealed record TrimmedSpans(bool KeepsFirst)
{
    /// <summary>Returns the span without the white space of the token.</summary>
    public TextSpan Trim(string spelling, TextSpan span, bool isFirst)
    {
        int leading = spelling.TakeWhile(IsBlank).Count(), trailing = spelling.Reverse().TakeWhile(IsBlank).Count();
        if (leading > 0 && KeepsFirst && (isFirst || span.Start == 0)) leading--;
        int start = Math.Min(span.Start + leading, span.End), end = span.End;
        if (trailing > 0 && end >= trailing) end = Math.Max(end - trailing, start);
        return new(start, end);
    }

    static bool IsBlank(char character) => character == '\u0120' || char.IsWhiteSpace(character);
}
