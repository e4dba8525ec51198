using System.Globalization;
using System.Text;

namespace HybridArchitectures.Tokenization;

/// <summary>
/// Parses a regular expression of a tokenizer file (the Oniguruma dialect over Unicode code points) into parts that can be written for .NET.
/// Expressions that .NET cannot represent with the same meaning are refused.
/// </summary>
sealed class SplitSyntax
{
    const int MaxDepth = 100, MaxRepeat = 10_000;

    // sequences of ASCII letters to which one character folds, such as U+00DF to "ss"
    static readonly string[] JointFolds = ["ss", "ff", "fi", "fl", "st"];

    readonly string pattern;
    readonly Rune[] runes;
    readonly List<object> parts = [];
    int at;
    Rune? letterBefore;

    SplitSyntax(string pattern) => (this.pattern, runes) = (pattern, [.. pattern.EnumerateRunes()]);

    /// <summary>Parses an expression.</summary>
    /// <returns>Texts to be copied unchanged, and <see cref="SplitClass"/>es.</returns>
    /// <exception cref="FormatException">The expression is not understood, or .NET would interpret it differently.</exception>
    public static IReadOnlyList<object> Read(string pattern)
    {
        var syntax = new SplitSyntax(pattern);
        syntax.Alternatives(ignoresCase: false, depth: 0);
        if (syntax.at < syntax.runes.Length) throw syntax.Refuse("an unmatched \")\"");
        return syntax.parts;
    }

    FormatException Refuse(string what) =>
        new($"the split pattern \"{(pattern.Length > 200 ? pattern[..200] + "..." : pattern)}\" uses {what}, which is not supported");

    bool Ended => at >= runes.Length;

    bool Is(string text)
    {
        for (int i = 0; i < text.Length; i++)
            if (at + i >= runes.Length || runes[at + i].Value != text[i]) return false;
        return true;
    }

    bool Skip(string text)
    {
        if (!Is(text)) return false;
        at += text.Length;
        return true;
    }

    Rune Next() => Ended ? throw Refuse("an unfinished construct") : runes[at++];

    void Alternatives(bool ignoresCase, int depth)
    {
        if (depth > MaxDepth) throw Refuse($"more than {MaxDepth} nested groups");
        if (Skip("(?i)")) ignoresCase = true;
        letterBefore = null;
        while (!Ended && !Is(")"))
        {
            if (Skip("|"))
            {
                parts.Add("|");
                letterBefore = null;
                continue;
            }
            int start = parts.Count;
            Atom(ignoresCase, depth);
            Quantifiers(start);
        }
        letterBefore = null;
    }

    void Atom(bool ignoresCase, int depth)
    {
        var before = letterBefore;
        letterBefore = null;
        if (Is("(")) Group(ignoresCase, depth);
        else if (Skip("[")) parts.Add(Class(ignoresCase, depth: 0));
        else if (Skip(".")) parts.Add(SplitClass.Literal('\n').Negated());
        else if (Is("^") || Is("$") || Is("*") || Is("+") || Is("?")) throw Refuse($"\"{runes[at]}\" at this position");
        else if (Skip("\\"))
        {
            if (Escape(ignoresCase) is { } known) parts.Add(known);
            else Literal(EscapedCharacter(), ignoresCase, before);
        }
        else Literal(Next(), ignoresCase, before);
    }

    void Literal(Rune character, bool ignoresCase, Rune? before)
    {
        parts.Add(Cased(SplitClass.Literal(character.Value), CodePointSet.Range(character.Value, character.Value), ignoresCase));
        if (!ignoresCase) return;
        if (before is { } left && JointFolds.Contains($"{left}{character}".ToLowerInvariant()))
            throw Refuse($"\"{left}{character}\" without regard to case");
        letterBefore = character;
    }

    void Group(bool ignoresCase, int depth)
    {
        string opening = "(?:";
        if (Skip("(?:")) { }
        else if (Skip("(?i:")) ignoresCase = true;
        else if (Skip("(?-i:")) ignoresCase = false;
        else if (Skip("(?!")) opening = "(?!";
        else if (Skip("(?=")) opening = "(?=";
        else if (Skip("(?<!")) opening = "(?<!";
        else if (Skip("(?<=")) opening = "(?<=";
        else if (Skip("(?>")) opening = "(?>";
        else if (Is("(?")) throw Refuse($"\"(?{(at + 2 < runes.Length ? runes[at + 2] : "")}\"");
        else at++;
        parts.Add(opening);
        Alternatives(ignoresCase, depth + 1);
        if (!Skip(")")) throw Refuse("an unmatched \"(\"");
        parts.Add(")");
    }

    // parses the quantifiers of the atom that begins at a part
    void Quantifiers(int start)
    {
        if (Ended) return;
        if (runes[at].Value is '*' or '+' or '?')
        {
            string sign = Next().ToString();
            if (Skip("+")) Possessive(start, sign);
            else parts.Add(Skip("?") ? sign + "?" : sign);
        }
        else if (Interval() is { } interval)
        {
            bool exact = !interval.Contains(',', StringComparison.Ordinal);
            if (Is("?") && exact) throw Refuse("an optional exact number of repetitions");
            parts.Add(Skip("?") ? interval + "?" : interval);
            // Oniguruma reads a plus after an interval as a second quantifier
            if (Skip("+"))
            {
                parts.Insert(start, "(?:");
                parts.Add(")+");
            }
        }
        else return;
        letterBefore = null;
        if (!Ended && (runes[at].Value is '*' or '+' or '?' || Interval() is not null)) throw Refuse("a quantifier of a quantifier");
    }

    void Possessive(int start, string sign)
    {
        parts.Insert(start, "(?>");
        parts.Add($"{sign})");
    }

    // {n}, {n,}, {n,m} or {,m}; null if the brace is an ordinary character
    string? Interval()
    {
        if (!Is("{")) return null;
        int end = at + 1;
        while (end < runes.Length && (runes[end].Value is >= '0' and <= '9' or ',')) end++;
        if (end >= runes.Length || runes[end].Value != '}') return null;
        string[] bounds = string.Concat(runes[(at + 1)..end]).Split(',');
        if (bounds.Length > 2 || bounds.All(bound => bound.Length == 0)) return null;
        int Bound(string text, int otherwise)
        {
            if (text.Length == 0) return otherwise;
            return int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int value) && value <= MaxRepeat ? value : -1;
        }
        int low = Bound(bounds[0], 0), high = bounds.Length == 1 ? low : Bound(bounds[1], MaxRepeat);
        if (low < 0 || high < low) throw Refuse($"{{{string.Join(',', bounds)}}} (repetitions must ascend and be at most {MaxRepeat})");
        at = end + 1;
        return bounds.Length == 1 ? $"{{{low}}}" : bounds[1].Length == 0 ? $"{{{low},}}" : $"{{{low},{high}}}";
    }

    // a class such as \p{L}, after the backslash; null if the escape is a single character
    SplitClass? Escape(bool ignoresCase)
    {
        if (Ended) throw Refuse("a backslash at its end");
        switch (runes[at].Value)
        {
            case 's':
                at++;
                return new SplitClass(CodePointSet.WhiteSpace, @"\s");
            case 'S':
                at++;
                return new SplitClass(CodePointSet.WhiteSpace.Complement(), @"\S");
            case 'd':
                at++;
                return new SplitClass(CodePointSet.Category("Nd")!, @"\d");
            case 'D':
                at++;
                return new SplitClass(CodePointSet.Category("Nd")!.Complement(), null);
            case 'p' or 'P':
                return Property(runes[at++].Value == 'P', ignoresCase);
            default:
                return null;
        }
    }

    SplitClass Property(bool negated, bool ignoresCase)
    {
        int start = at;
        if (!Skip("{")) throw Refuse(@"\p without braces");
        var name = new StringBuilder();
        while (!Skip("}")) name.Append(Next());
        string text = name.ToString();
        if (text.StartsWith('^')) (negated, text) = (!negated, text[1..]);
        if (CodePointSet.Category(text) is not { } set) throw Refuse($"\\p{string.Concat(runes[start..at])} (only general categories are known)");
        if (ignoresCase && text is "Lu" or "Ll" or "Lt") throw Refuse($"\\p{{{text}}} without regard to case");
        // .NET counts surrogates, which represent characters beyond U+FFFF here, as category C
        if (negated) return new SplitClass(set.Complement(), null);
        return new SplitClass(set, text is "C" or "Cs" ? null : $"\\p{{{text}}}");
    }

    Rune EscapedCharacter()
    {
        var character = Next();
        switch (character.Value)
        {
            case 'r': return new Rune('\r');
            case 'n': return new Rune('\n');
            case 't': return new Rune('\t');
            case 'f': return new Rune('\f');
            case 'v': return new Rune('\v');
            case 'x' when Skip("{"):
                var digits = new StringBuilder();
                while (!Skip("}")) digits.Append(Next());
                return Hexadecimal(digits.ToString());
            case 'x': return Hexadecimal($"{Next()}{Next()}");
            case 'u': return Hexadecimal($"{Next()}{Next()}{Next()}{Next()}");
        }
        if (Rune.IsLetterOrDigit(character)) throw Refuse($"\\{character}");
        return character;
    }

    Rune Hexadecimal(string digits) =>
        int.TryParse(digits, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out int code) && Rune.TryCreate(code, out var rune) ? rune
            : throw Refuse($"the character number \"{digits}\"");

    // parses a class after its opening bracket
    SplitClass Class(bool ignoresCase, int depth)
    {
        if (depth > MaxDepth) throw Refuse($"more than {MaxDepth} nested classes");
        bool negated = Skip("^");
        if (Is("]")) throw Refuse("a class that begins with \"]\"");
        if (depth > 0 && Is(":")) throw Refuse("\"[:\"");
        var operands = new List<SplitClass>();
        var current = new SplitClass(CodePointSet.Empty, "");
        while (!Skip("]"))
        {
            if (Skip("&&"))
            {
                operands.Add(current);
                current = new SplitClass(CodePointSet.Empty, "");
            }
            else current = current.Union(Skip("[") ? Class(ignoresCase, depth + 1).Nested() : Item(ignoresCase));
        }
        foreach (var operand in operands) current = new SplitClass(current.Set.Intersect(operand.Set), null);
        return negated ? current.Negated() : current;
    }

    SplitClass Item(bool ignoresCase)
    {
        Rune first;
        if (Skip("\\"))
        {
            if (Escape(ignoresCase) is { } known) return known;
            first = EscapedCharacter();
        }
        else first = Next();
        // a hyphen is an ordinary character at the end of a class and where no range can begin
        if (!Is("-") || at + 1 >= runes.Length || runes[at + 1].Value is ']' or '[' || first.Value == '-') return One(first, ignoresCase);
        int hyphen = at++;
        Rune last;
        if (Skip("\\"))
        {
            if (Escape(ignoresCase) is not null)
            {
                at = hyphen;
                return One(first, ignoresCase);
            }
            last = EscapedCharacter();
        }
        else last = Next();
        if (last < first) throw Refuse($"the range {first}-{last}, which descends");
        return Cased(SplitClass.Interval(first.Value, last.Value), CodePointSet.Range(first.Value, last.Value), ignoresCase);
    }

    SplitClass One(Rune character, bool ignoresCase) =>
        Cased(SplitClass.Literal(character.Value), CodePointSet.Range(character.Value, character.Value), ignoresCase);

    // adds the other case of the letters; "s" and "k" have a third form each
    SplitClass Cased(SplitClass written, CodePointSet set, bool ignoresCase)
    {
        if (!ignoresCase) return written;
        foreach (string category in (ReadOnlySpan<string>)["Lu", "Ll", "Lt", "Lm", "M"])
        {
            if (!set.Intersect(CodePointSet.Category(category)!).Intersect(CodePointSet.Range(0x80, 0x10FFFF)).IsEmpty)
                throw Refuse("letters beyond ASCII without regard to case");
        }
        for (char letter = 'a'; letter <= 'z'; letter++)
        {
            char capital = char.ToUpperInvariant(letter);
            if (!set.Contains(letter) && !set.Contains(capital)) continue;
            written = written.Union(SplitClass.Literal(letter)).Union(SplitClass.Literal(capital));
            if (letter == 's') written = written.Union(SplitClass.Literal('\u017F'));
            if (letter == 'k') written = written.Union(SplitClass.Literal('\u212A'));
        }
        return written;
    }
}
