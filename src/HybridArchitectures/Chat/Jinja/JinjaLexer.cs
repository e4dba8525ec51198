using System.Text;
using System.Text.RegularExpressions;

namespace HybridArchitectures.Chat.Jinja;

/// <summary>
/// Splits a template into tokens with the settings of transformers. A line break after a statement and spaces before a statement on its line are
/// removed (<c>trim_blocks</c>, <c>lstrip_blocks</c>), as is one line break at the end of the template.
/// </summary>
sealed partial class JinjaLexer
{
    static readonly string[] Signs = ["**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<", ">", "=", "(", ")", "[", "]", "{", "}",
        ",", ":", ".", "|"];

    readonly string template;
    readonly List<JinjaToken> tokens = [];
    int at, line = 1;

    JinjaLexer(string template) => this.template = template;

    /// <summary>Returns the tokens. The last one is <see cref="JinjaKind.End"/>.</summary>
    /// <exception cref="InvalidDataException">The template is damaged. The message names the line.</exception>
    public static List<JinjaToken> Read(string template)
    {
        template = template.ReplaceLineEndings("\n");
        var lexer = new JinjaLexer(template.EndsWith('\n') ? template[..^1] : template);
        lexer.ReadAll();
        return lexer.tokens;
    }

    InvalidDataException Bad(string why) => new($"chat template, line {line}: {why}");

    bool Is(string text) => string.CompareOrdinal(template, at, text, 0, text.Length) == 0;

    void Move(int count)
    {
        for (int end = Math.Min(at + count, template.Length); at < end; at++)
            if (template[at] == '\n') line++;
    }

    void Add(JinjaKind kind, string text) => tokens.Add(new(kind, text, line));

    void ReadAll()
    {
        while (at < template.Length)
        {
            int open = template.IndexOf('{', at);
            while (open >= 0 && (open + 1 >= template.Length || template[open + 1] is not ('{' or '%' or '#')))
                open = template.IndexOf('{', open + 1);
            ReadText(open < 0 ? template.Length : open);
            if (open < 0) break;
            if (Is("{#")) ReadComment();
            else if (!ReadRaw()) ReadTag(output: Is("{{"));
        }
        Add(JinjaKind.End, "");
    }

    // the tag after the text decides whether the white space at its end is removed
    void ReadText(int end)
    {
        string text = template[at..end];
        char control = end + 2 < template.Length ? template[end + 2] : ' ';
        if (end < template.Length && control == '-') text = text.TrimEnd();
        else if (end < template.Length && control != '+' && template[end + 1] != '{')
        {
            string kept = text.TrimEnd(' ', '\t');
            bool startsLine = kept.EndsWith('\n') || (kept.Length == 0 && (at == 0 || template[at - 1] == '\n'));
            if (startsLine) text = kept;
        }
        if (text.Length > 0) Add(JinjaKind.Text, text);
        Move(end - at);
    }

    void ReadComment()
    {
        int end = template.IndexOf("#}", at + 2, StringComparison.Ordinal);
        if (end < 0) throw Bad("a comment without end");
        bool strips = template[end - 1] == '-';
        Move(end + 2 - at);
        AfterTag(strips, trims: true);
    }

    // {% raw %} text {% endraw %}
    bool ReadRaw()
    {
        var opening = RawStart().Match(template, at);
        if (!opening.Success) return false;
        var closing = RawEnd().Match(template, at + opening.Length);
        if (!closing.Success) throw Bad("raw without endraw");
        Move(opening.Length);
        AfterTag(opening.Groups[1].Value == "-", trims: true);
        string text = template[Math.Min(at, closing.Index)..closing.Index];
        Add(JinjaKind.Text, closing.Groups[1].Value == "-" ? text.TrimEnd() : text);
        Move(closing.Index + closing.Length - at);
        AfterTag(closing.Groups[2].Value == "-", trims: true);
        return true;
    }

    [GeneratedRegex(@"\G\{%[-+]?\s*raw\s*([-+]?)%\}")]
    private static partial Regex RawStart();

    [GeneratedRegex(@"\{%([-+]?)\s*endraw\s*([-+]?)%\}")]
    private static partial Regex RawEnd();

    void ReadTag(bool output)
    {
        Add(output ? JinjaKind.OutputStart : JinjaKind.StatementStart, "");
        Move(2);
        if (Is("-") || Is("+")) Move(1);
        string close = output ? "}}" : "%}";
        int depth = 0;
        while (true)
        {
            while (at < template.Length && char.IsWhiteSpace(template[at])) Move(1);
            if (at >= template.Length) throw Bad($"a tag without \"{close}\"");
            bool strips = Is("-" + close);
            if (strips || Is("+" + close) || (depth == 0 && Is(close)))
            {
                bool keeps = Is("+" + close);
                Move(close.Length + (strips || keeps ? 1 : 0));
                Add(JinjaKind.TagEnd, close);
                AfterTag(strips, trims: !output && !keeps);
                return;
            }
            ReadToken(ref depth);
        }
    }

    void AfterTag(bool strips, bool trims)
    {
        if (strips)
            while (at < template.Length && char.IsWhiteSpace(template[at])) Move(1);
        else if (trims && Is("\n")) Move(1);
    }

    void ReadToken(ref int depth)
    {
        char first = template[at];
        int start = at;
        if (char.IsLetter(first) || first == '_')
        {
            while (at < template.Length && (char.IsLetterOrDigit(template[at]) || template[at] == '_')) Move(1);
            Add(JinjaKind.Name, template[start..at]);
        }
        else if (char.IsAsciiDigit(first))
        {
            while (at < template.Length
                && (char.IsAsciiDigit(template[at])
                || (template[at] == '.' && at + 1 < template.Length && char.IsAsciiDigit(template[at + 1])))) Move(1);
            Add(JinjaKind.Number, template[start..at]);
        }
        else if (first is '"' or '\'') Add(JinjaKind.String, ReadString(first));
        else
        {
            string sign = Signs.FirstOrDefault(Is) ?? throw Bad($"\"{first}\" is not understood");
            depth += sign is "{" or "[" or "(" ? 1 : sign is "}" or "]" or ")" ? -1 : 0;
            Add(JinjaKind.Sign, sign);
            Move(sign.Length);
        }
    }

    string ReadString(char quote)
    {
        var text = new StringBuilder();
        Move(1);
        while (at < template.Length && template[at] != quote)
        {
            if (template[at] == '\\' && at + 1 < template.Length)
            {
                Move(1);
                text.Append(Escaped());
            }
            else text.Append(template[at]);
            Move(1);
        }
        if (at >= template.Length) throw Bad("a text without closing quote");
        Move(1);
        return text.ToString();
    }

    string Escaped()
    {
        switch (template[at])
        {
            case 'n': return "\n";
            case 't': return "\t";
            case 'r': return "\r";
            case 'b': return "\b";
            case 'f': return "\f";
            case '\n': return "";
            case '\\' or '\'' or '"': return template[at].ToString();
            case 'u' or 'x' or 'U':
                int length = template[at] switch { 'x' => 2, 'u' => 4, _ => 8 };
                if (at + length >= template.Length
                    || !int.TryParse(template.AsSpan(at + 1, length), System.Globalization.NumberStyles.AllowHexSpecifier, null, out int code))
                    throw Bad("an escape without its digits");
                Move(length);
                return code < 0x10000 ? ((char)code).ToString() : char.ConvertFromUtf32(code);
            default: return "\\" + template[at];
        }
    }
}
