using System.Globalization;
using System.Text;

namespace HybridArchitectures.Chat.Jinja;

/// <summary>Writes values as JSON as Python's <c>json.dumps</c> does.</summary>
/// <param name="indent">The number of spaces per level. Null means one line.</param>
/// <param name="separators">The texts between items and between a name and its value. Null means those of Python.</param>
/// <param name="sortKeys">Whether names are sorted.</param>
/// <param name="ensureAscii">Whether characters beyond ASCII are escaped.</param>
sealed class JinjaJson(long? indent, (string Item, string Name)? separators, bool sortKeys, bool ensureAscii)
{
    readonly (string Item, string Name) between = separators ?? (indent is null ? ", " : ",", ": ");
    readonly StringBuilder text = new();

    /// <summary>Writes the value of the filter <c>tojson</c> with its arguments, in the order of transformers.</summary>
    public static string Filter(object? value, Func<int, string, object?> argument)
    {
        (string, string)? separators = argument(2, "separators") switch
        {
            null => null,
            List<object?> and [string item, string name] => (item, name),
            _ => throw JinjaValue.Bad("separators of tojson; expected two texts"),
        };
        return new JinjaJson(argument(1, "indent") is { } indent ? JinjaValue.Whole(indent) : null, separators,
            JinjaValue.IsTrue(argument(3, "sort_keys")), JinjaValue.IsTrue(argument(0, "ensure_ascii"))).Write(value);
    }

    string Write(object? value)
    {
        Add(value, 0);
        return text.ToString();
    }

    void Add(object? value, int level)
    {
        switch (value)
        {
            case null: text.Append("null"); break;
            case bool flag: text.Append(flag ? "true" : "false"); break;
            case string words: AddText(words); break;
            case double.NaN: text.Append("NaN"); break;
            case double.PositiveInfinity: text.Append("Infinity"); break;
            case double.NegativeInfinity: text.Append("-Infinity"); break;
            case long or double: text.Append(JinjaValue.Text(value)); break;
            case List<object?> items: AddAll('[', ']', level, items, item => Add(item, level + 1)); break;
            case Dictionary<string, object?> map:
                var entries = sortKeys ? map.OrderBy(entry => entry.Key, StringComparer.Ordinal) : map.AsEnumerable();
                AddAll('{', '}', level, [.. entries], entry =>
                {
                    AddText(entry.Key);
                    text.Append(between.Name);
                    Add(entry.Value, level + 1);
                });
                break;
            default: throw JinjaValue.Bad($"{JinjaValue.Kind(value)} cannot be written as JSON");
        }
    }

    void AddAll<T>(char open, char close, int level, IReadOnlyList<T> items, Action<T> add)
    {
        text.Append(open);
        for (int i = 0; i < items.Count; i++)
        {
            if (i > 0) text.Append(between.Item);
            Break(level + 1);
            add(items[i]);
        }
        if (items.Count > 0) Break(level);
        text.Append(close);
    }

    void Break(int level)
    {
        if (indent is { } width) text.Append('\n').Append(' ', (int)Math.Clamp(width, 0, 16) * level);
    }

    void AddText(string words)
    {
        text.Append('"');
        foreach (char c in words)
        {
            text.Append(c switch
            {
                '"' => "\\\"",
                '\\' => "\\\\",
                '\n' => "\\n",
                '\r' => "\\r",
                '\t' => "\\t",
                '\b' => "\\b",
                '\f' => "\\f",
                _ when c < ' ' || (ensureAscii && c > '\x7F') => string.Create(CultureInfo.InvariantCulture, $"\\u{(int)c:x4}"),
                _ => c.ToString(),
            });
        }
        text.Append('"');
    }
}
