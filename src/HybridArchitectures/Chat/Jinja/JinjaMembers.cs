namespace HybridArchitectures.Chat.Jinja;

/// <summary>Implements attributes, items and methods of values.</summary>
static class JinjaMembers
{
    /// <summary>Returns <c>value.name</c>: a method, or otherwise the item with that name.</summary>
    public static object? Attribute(object? value, string name)
    {
        if (value == JinjaValue.Undefined) throw JinjaValue.Bad($"\"{name}\" is an attribute of an undefined value");
        return value switch
        {
            JinjaNamespace space => space.Values.GetValueOrDefault(name, JinjaValue.Undefined),
            string text => Method(text, name) ?? JinjaValue.Undefined,
            Dictionary<string, object?> map => Method(map, name) ?? map.GetValueOrDefault(name, JinjaValue.Undefined),
            List<object?> items => Method(items, name) ?? JinjaValue.Undefined,
            _ => JinjaValue.Undefined,
        };
    }

    /// <summary>Returns <c>value[key]</c>.</summary>
    public static object? Item(object? value, object? key)
    {
        if (value == JinjaValue.Undefined) throw JinjaValue.Bad("an item of an undefined value");
        switch (value, key)
        {
            case (Dictionary<string, object?> map, string name):
                return map.TryGetValue(name, out object? found) ? found : Method(map, name) ?? JinjaValue.Undefined;
            case (List<object?> items, long index): return At(items, index);
            case (string text, long index): return At(JinjaValue.Items(text), index);
            case (_, string name): return Attribute(value, name);
            default: return JinjaValue.Undefined;
        }
    }

    static object? At(List<object?> items, long index)
    {
        if (index < 0) index += items.Count;
        return index >= 0 && index < items.Count ? items[(int)index] : JinjaValue.Undefined;
    }

    /// <summary>Returns <c>value[start:stop:step]</c>.</summary>
    public static object? Slice(object? value, object? start, object? stop, object? step)
    {
        var items = JinjaValue.Items(value);
        long by = step is null ? 1 : JinjaValue.Whole(step), count = items.Count;
        if (by == 0) throw JinjaValue.Bad("a slice with step 0");
        by = Math.Clamp(by, -count - 1, count + 1);
        long Bound(object? given, long otherwise)
        {
            if (given is null) return otherwise;
            long bound = JinjaValue.Whole(given);
            if (bound < 0) bound += count;
            return by > 0 ? Math.Clamp(bound, 0, count) : Math.Clamp(bound, -1, count - 1);
        }
        long from = Bound(start, by > 0 ? 0 : count - 1), to = Bound(stop, by > 0 ? count : -1);
        var result = new List<object?>();
        for (long i = from; by > 0 ? i < to : i > to; i += by) result.Add(items[(int)i]);
        return value switch
        {
            string => string.Concat(result),
            JinjaTuple => new JinjaTuple(result),
            _ => result,
        };
    }

    internal static string Words(IReadOnlyList<object?> values, int index) =>
        index < values.Count && values[index] is string text ? text : throw JinjaValue.Bad($"argument {index + 1} of a method; expected a text");

    /// <summary>Returns the first argument of a method or test.</summary>
    internal static object? Given(IReadOnlyList<object?> values) => values.Count > 0 ? values[0]
        : throw JinjaValue.Bad("a method or test without its argument");

    static char[]? Characters(IReadOnlyList<object?> values) => values.Count > 0 && values[0] is not null ? Words(values, 0).ToCharArray() : null;

    static JinjaFunction? Method(string text, string name) => name switch
    {
        "strip" => (values, _) => text.Trim(Characters(values)),
        "lstrip" => (values, _) => text.TrimStart(Characters(values)),
        "rstrip" => (values, _) => text.TrimEnd(Characters(values)),
        "upper" => (_, _) => JinjaValue.Upper(text),
        "lower" => (_, _) => text.ToLowerInvariant(),
        "capitalize" => (_, _) => JinjaFilters.Capitalized(text),
        "title" => (_, _) => JinjaFilters.Title(text),
        "startswith" => (values, _) => Prefixes(values).Any(prefix => text.StartsWith(prefix, StringComparison.Ordinal)),
        "endswith" => (values, _) => Prefixes(values).Any(suffix => text.EndsWith(suffix, StringComparison.Ordinal)),
        "replace" => (values, _) => JinjaValue.Replaced(text, Words(values, 0), Words(values, 1), values.ElementAtOrDefault(2)),
        "split" => (values, named) => Split(text, values, named, fromEnd: false),
        "rsplit" => (values, named) => Split(text, values, named, fromEnd: true),
        "splitlines" => (_, _) => Lines(text),
        "partition" => (values, _) => Partition(text, Words(values, 0), text.IndexOf(Words(values, 0), StringComparison.Ordinal)),
        "rpartition" => (values, _) => Partition(text, Words(values, 0), text.LastIndexOf(Words(values, 0), StringComparison.Ordinal), fromEnd: true),
        "removeprefix" => (values, _) => text.StartsWith(Words(values, 0), StringComparison.Ordinal) ? text[Words(values, 0).Length..] : text,
        "removesuffix" => (values, _) => text.EndsWith(Words(values, 0), StringComparison.Ordinal) ? text[..^Words(values, 0).Length] : text,
        "rfind" => (values, _) => (long)text.LastIndexOf(Words(values, 0), StringComparison.Ordinal),
        "find" => (values, _) => (long)text.IndexOf(Words(values, 0), StringComparison.Ordinal),
        "count" => (values, _) => (long)(text.Split(Words(values, 0)).Length - 1),
        "join" => (values, _) => JinjaValue.Joined([.. JinjaValue.Items(Given(values)).Select(JinjaValue.Text)], text),
        "isdigit" => (_, _) => text.Length > 0 && text.All(char.IsDigit),
        "isalpha" => (_, _) => text.Length > 0 && text.All(char.IsLetter),
        "isspace" => (_, _) => text.Length > 0 && text.All(char.IsWhiteSpace),
        "isupper" => (_, _) => text.Any(char.IsUpper) && !text.Any(char.IsLower),
        "islower" => (_, _) => text.Any(char.IsLower) && !text.Any(char.IsUpper),
        _ => null,
    };

    // a line break at the end starts no other line
    static List<object?> Lines(string text)
    {
        string[] lines = text.ReplaceLineEndings("\n").Split('\n');
        return [.. lines[^1].Length == 0 ? lines[..^1] : lines];
    }

    static JinjaTuple Partition(string text, string separator, int at, bool fromEnd = false)
    {
        if (separator.Length == 0) throw JinjaValue.Bad("partition by an empty separator");
        if (at >= 0) return new([text[..at], separator, text[(at + separator.Length)..]]);
        return new(fromEnd ? ["", "", text] : [text, "", ""]);
    }

    static IEnumerable<string> Prefixes(IReadOnlyList<object?> values) => values is [List<object?> several, ..] ? several.OfType<string>()
        : [Words(values, 0)];

    static List<object?> Split(string text, IReadOnlyList<object?> values, IReadOnlyDictionary<string, object?> named, bool fromEnd)
    {
        object? separator = values.Count > 0 ? values[0] : named.GetValueOrDefault("sep");
        object? maxSplits = values.Count > 1 ? values[1] : named.GetValueOrDefault("maxsplit");
        int limit = maxSplits is null || JinjaValue.Whole(maxSplits) < 0 ? int.MaxValue
            : (int)Math.Min(JinjaValue.Whole(maxSplits), int.MaxValue - 1) + 1;
        if (separator is null) return [.. text.Split((char[]?)null, limit, StringSplitOptions.RemoveEmptyEntries)];
        if (separator is not string { Length: > 0 } between) throw JinjaValue.Bad("split by an empty separator");
        if (!fromEnd) return [.. text.Split(between, limit)];
        string[] all = text.Split(between);
        int joined = Math.Max(0, all.Length - limit) + 1;
        return [string.Join(between, all[..joined]), .. all[joined..]];
    }

    static JinjaFunction? Method(Dictionary<string, object?> map, string name) => name switch
    {
        "items" => (_, _) => JinjaFilters.Pairs(map),
        "keys" => (_, _) => new List<object?>(map.Keys),
        "values" => (_, _) => new List<object?>(map.Values),
        "get" => (values, named) => map.GetValueOrDefault(Words(values, 0), values.Count > 1 ? values[1] : named.GetValueOrDefault("default")),
        _ => null,
    };

    static JinjaFunction? Method(List<object?> items, string name) => name switch
    {
        "index" => (values, _) => (long)items.FindIndex(item => JinjaValue.AreEqual(item, Given(values))),
        "count" => (values, _) => (long)items.Count(item => JinjaValue.AreEqual(item, Given(values))),
        _ => null,
    };
}
