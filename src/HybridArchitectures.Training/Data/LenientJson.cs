using System.Buffers.Text;
using System.Globalization;
using System.Text;
using System.Text.Json;

namespace HybridArchitectures.Training.Data;

/// <summary>Reads one JSON object. Only one string property is parsed completely; of others, only quotes, brackets and commas.</summary>
ref struct LenientJson(ReadOnlySpan<byte> json)
{
    readonly ReadOnlySpan<byte> json = json;
    int at;

    public string? Text(ReadOnlySpan<byte> column, string name, ref long replaced)
    {
        string? text = null;
        bool found = false;
        SkipBlanks();
        if (!TryTake('{')) throw Problem("an object");
        SkipBlanks();
        for (bool first = true; !TryTake('}'); first = false)
        {
            if (!first && !TryTake(',')) throw Problem("',' or '}' after a property");
            SkipBlanks();
            bool isText = IsNamed(column);
            SkipBlanks();
            if (!TryTake(':')) throw Problem("':' after a property's name");
            SkipBlanks();
            if (isText) (text, found) = (ReadText(name, ref replaced), true);
            else SkipValue();
            SkipBlanks();
        }
        SkipBlanks();
        if (at < json.Length) throw Problem("nothing after the object");
        if (!found)
        {
            at = 0;
            throw Problem($"a property '{name}', but there is no property '{name}'");
        }
        return text;
    }

    readonly JsonException Problem(string expected) =>
        new($"expected {expected}{(at < json.Length ? "" : ", but the end was met")}", path: null, lineNumber: null, bytePositionInLine: at);

    void SkipBlanks()
    {
        int count = json[at..].IndexOfAnyExcept(" \t\r\n"u8);
        at = count < 0 ? json.Length : at + count;
    }

    bool TryTake(char c)
    {
        if (at >= json.Length || json[at] != c) return false;
        at++;
        return true;
    }

    bool IsNamed(ReadOnlySpan<byte> column)
    {
        var raw = TakeString("a property's name in quotes", out int start);
        if (!raw.Contains((byte)'\\')) return raw.SequenceEqual(column);
        long ignored = 0;
        return Unescape(raw, start, strict: false, ref ignored).AsSpan().SequenceEqual(column);
    }

    string? ReadText(string name, ref long replaced)
    {
        if (at < json.Length && json[at] != '"')
        {
            int begin = at;
            SkipValue();
            if (json[begin..at] is [(byte)'n', (byte)'u', ..] or [(byte)'N', (byte)'a', ..]) return null;
            at = begin;
            throw Problem($"a string as '{name}'");
        }
        var raw = TakeString($"a string as '{name}'", out int start);
        int control = raw.IndexOfAnyInRange((byte)0, (byte)31);
        if (control >= 0)
        {
            at = start + control;
            throw Problem($"no control character 0x{json[at]:x2} in '{name}'");
        }
        try
        {
            return Utf8Text.Decode(raw.Contains((byte)'\\') ? Unescape(raw, start, strict: true, ref replaced) : raw, ref replaced);
        }
        catch (DecoderFallbackException)
        {
            at = start;
            throw Problem($"UTF-8 in '{name}'");
        }
    }

    // returns the bytes between the quotes
    ReadOnlySpan<byte> TakeString(string expected, out int start)
    {
        if (!TryTake('"')) throw Problem(expected);
        start = at;
        while (true)
        {
            int mark = json[at..].IndexOfAny((byte)'"', (byte)'\\');
            if (mark < 0)
            {
                at = json.Length;
                throw Problem("a closing quote");
            }
            at += mark + 1;
            if (json[at - 1] == '"') return json[start..(at - 1)];
            at = Math.Min(at + 1, json.Length);
        }
    }

    void SkipValue()
    {
        int depth = 0;
        do
        {
            if (at >= json.Length) throw Problem("a value");
            switch (json[at])
            {
                case (byte)'"':
                    TakeString("a string", out _);
                    break;
                case (byte)'{' or (byte)'[':
                    depth++;
                    at++;
                    break;
                case (byte)'}' or (byte)']' when depth > 0:
                    depth--;
                    at++;
                    break;
                case (byte)',' or (byte)':' or (byte)' ' or (byte)'\t' or (byte)'\r' or (byte)'\n' when depth > 0:
                    at++;
                    break;
                default:
                    SkipWord();
                    break;
            }
        }
        while (depth > 0);
    }

    void SkipWord()
    {
        int length = json[at..].IndexOfAny(",:}] \t\r\n"u8);
        var word = length < 0 ? json[at..] : json[at..(at + length)];
        bool known = word.SequenceEqual("true"u8) || word.SequenceEqual("false"u8) || word.SequenceEqual("null"u8)
            || word.SequenceEqual("NaN"u8) || word.SequenceEqual("Infinity"u8) || word.SequenceEqual("-Infinity"u8)
            || (Utf8Parser.TryParse(word, out double _, out int used) && used == word.Length);
        if (!known) throw Problem("a value");
        at += word.Length;
    }

    byte[] Unescape(ReadOnlySpan<byte> raw, int start, bool strict, ref long replaced)
    {
        var result = new byte[raw.Length];      // no escape is shorter than the character that it represents
        int length = 0;
        for (int i = 0; i < raw.Length;)
        {
            if (raw[i] != '\\')
            {
                result[length++] = raw[i++];
                continue;
            }
            int used = UnescapeOne(raw[i..], result.AsSpan(length), out int written, ref replaced);
            if (used == 0 && strict)
            {
                at = start + i;
                throw Problem("an escape of JSON after a backslash");
            }
            i += Math.Max(used, 1);
            length += written;
        }
        return result[..length];
    }

    // returns the number of bytes of the escape in the source, or 0 if it is invalid
    static int UnescapeOne(ReadOnlySpan<byte> source, Span<byte> target, out int written, ref long replaced)
    {
        written = 1;
        if (source.Length < 2) return written = 0;
        if (source[1] != 'u')
        {
            int kind = "\"\\/bfnrt"u8.IndexOf(source[1]);
            if (kind < 0) return written = 0;
            target[0] = "\"\\/\b\f\n\r\t"u8[kind];
            return 2;
        }
        if (!TryHex(source, out char first)) return written = 0;
        if (char.IsHighSurrogate(first) && source.Length >= 12 && source[6] == '\\' && source[7] == 'u' && TryHex(source[6..], out char second)
            && char.IsLowSurrogate(second))
        {
            written = new Rune(first, second).EncodeToUtf8(target);
            return 12;
        }
        if (char.IsSurrogate(first)) replaced++;
        written = (char.IsSurrogate(first) ? Rune.ReplacementChar : new Rune(first)).EncodeToUtf8(target);
        return 6;
    }

    static bool TryHex(ReadOnlySpan<byte> escape, out char value)
    {
        value = default;
        if (escape.Length < 6 || !ushort.TryParse(escape[2..6], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ushort code))
            return false;
        value = (char)code;
        return true;
    }
}
