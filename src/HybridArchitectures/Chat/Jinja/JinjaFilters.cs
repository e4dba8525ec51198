using System.Globalization;

namespace HybridArchitectures.Chat.Jinja;

/// <summary>Implements the filters and tests of templates.</summary>
static class JinjaFilters
{
    /// <summary>Applies a filter.</summary>
    /// <exception cref="InvalidDataException">The filter does not exist, or it does not fit the value.</exception>
    public static object? Apply(string name, object? value, IReadOnlyList<object?> values, IReadOnlyDictionary<string, object?> named)
    {
        object? Argument(int index, string key, object? otherwise = null) => index < values.Count ? values[index]
            : named.GetValueOrDefault(key, otherwise);
        switch (name)
        {
            case "default" or "d":
                return value == JinjaValue.Undefined || (JinjaValue.IsTrue(Argument(1, "boolean", false)) && !JinjaValue.IsTrue(value))
                    ? Argument(0, "default_value", "")
                    : value;
            case "tojson": return JinjaJson.Filter(value, (index, key) => Argument(index, key));
            case "length" or "count": return (long)JinjaValue.Items(value).Count;
            case "join":
                var texts = Attributes(JinjaValue.Items(value), Argument(1, "attribute")).Select(JinjaValue.Text);
                return JinjaValue.Joined([.. texts], JinjaValue.Text(Argument(0, "d", "")));
            case "list": return new List<object?>(JinjaValue.Items(value));
            case "first": return JinjaValue.Items(value) is [var first, ..] ? first : JinjaValue.Undefined;
            case "last": return JinjaValue.Items(value) is [.., var last] ? last : JinjaValue.Undefined;
            case "reverse":
                return value is string text ? string.Concat(Enumerable.Reverse(JinjaValue.Items(text)))
                    : new List<object?>(Enumerable.Reverse(JinjaValue.Items(value)));
            case "map": return Map(value, values, named);
            case "select" or "reject": return Chosen(value, item => Passes(item, values, 0) == (name == "select"));
            case "selectattr" or "rejectattr":
                return Chosen(value, item => Passes(Attribute(item, JinjaMembers.Words(values, 0)), values, 1) == (name == "selectattr"));
            case "items": return Pairs(value);
            case "dictsort":
                return SortedPairs(Pairs(value), Argument(1, "by", "key"), Argument(0, "case_sensitive"), Argument(2, "reverse"));
            case "sort": return SortedItems(JinjaValue.Items(value), Argument(2, "attribute"), Argument(1, "case_sensitive"), Argument(0, "reverse"));
            case "unique": return Unique(value);
            case "sum":
                return Attributes(JinjaValue.Items(value), Argument(0, "attribute"))
                    .Aggregate(Argument(1, "start", 0L), (sum, item) => JinjaValue.Arithmetic("+", sum, item));
            case "min" or "max": return Extreme(JinjaValue.Items(value), Argument(1, "attribute"), isMinimum: name == "min");
            default: return ApplyToNumber(name, value, Argument);
        }
    }

    static object? ApplyToNumber(string name, object? value, Func<int, string, object?, object?> argument) => name switch
    {
        "int" => Whole(value, argument(0, "default", 0L)),
        "float" => Real(value),
        "abs" => value is long whole ? (object)Math.Abs(whole) : Math.Abs(JinjaValue.Real(value)),
        "round" => Rounded(value, JinjaValue.Whole(argument(0, "precision", 0L)), argument(1, "method", "common")),
        _ => ApplyToText(name, JinjaValue.Text(value), argument),
    };

    static double Rounded(object? value, long digits, object? method)
    {
        double number = JinjaValue.Real(value), scale = Math.Pow(10, Math.Clamp(digits, 0, 15));
        return method switch
        {
            "common" => Math.Round(number, (int)Math.Clamp(digits, 0, 15), MidpointRounding.ToEven),
            "ceil" => Math.Ceiling(number * scale) / scale,
            "floor" => Math.Floor(number * scale) / scale,
            _ => throw JinjaValue.Bad("round by none of common, ceil and floor"),
        };
    }

    // the first of several equal ones, as in Python
    static object? Extreme(List<object?> items, object? attribute, bool isMinimum)
    {
        object? Key(object? item) => Lower(attribute is string path ? Attribute(item, path) : item);
        return items.Count == 0 ? JinjaValue.Undefined
            : items.Aggregate((a, b) => JinjaValue.Compare(Key(b), Key(a)) is var order && (isMinimum ? order < 0 : order > 0) ? b : a);
    }

    static double Real(object? value) => value is not string number ? JinjaValue.Real(value)
        : double.TryParse(number, NumberStyles.Float, CultureInfo.InvariantCulture, out double real) ? real : 0.0;

    static object? ApplyToText(string name, string text, Func<int, string, object?, object?> argument) => name switch
    {
        "trim" => text.Trim(argument(0, "chars", null) is string characters ? characters.ToCharArray() : null),
        "string" or "safe" => text,
        "upper" => JinjaValue.Upper(text),
        "lower" => text.ToLowerInvariant(),
        "capitalize" => Capitalized(text),
        "title" => Title(text),
        "replace" => JinjaValue.Replaced(text, JinjaValue.Text(argument(0, "old", null)), JinjaValue.Text(argument(1, "new", null)),
            argument(2, "count", null)),
        "indent" => Indented(text, argument(0, "width", 4L), JinjaValue.IsTrue(argument(1, "first", false)),
            JinjaValue.IsTrue(argument(2, "blank", false))),
        _ => throw JinjaValue.Bad($"the filter \"{name}\" is not supported"),
    };

    /// <summary>Returns whether a value passes a test.</summary>
    /// <exception cref="InvalidDataException">The test does not exist.</exception>
    public static bool Test(string name, object? value, IReadOnlyList<object?> values) => name switch
    {
        "defined" => value != JinjaValue.Undefined,
        "undefined" => value == JinjaValue.Undefined,
        "none" => value is null,
        "string" => value is string,
        "mapping" => value is Dictionary<string, object?>,
        "sequence" or "iterable" => value is string or List<object?> or Dictionary<string, object?>,
        "number" => value is long or double or bool,
        "integer" => value is long,
        "float" => value is double,
        "boolean" => value is bool,
        "true" => value is true,
        "false" => value is false,
        "callable" => value is JinjaFunction,
        "lower" => JinjaValue.Text(value) is var text && text == text.ToLowerInvariant(),
        "upper" => JinjaValue.Text(value) is var text && text == text.ToUpperInvariant(),
        "odd" => JinjaValue.Whole(value) % 2 != 0,
        "even" => JinjaValue.Whole(value) % 2 == 0,
        "divisibleby" => JinjaValue.Whole(value) % JinjaValue.Whole(JinjaMembers.Given(values)) == 0,
        "in" => JinjaValue.Contains(JinjaMembers.Given(values), value),
        "sameas" => JinjaValue.AreSame(value, JinjaMembers.Given(values)),
        "equalto" or "eq" => JinjaValue.AreEqual(value, JinjaMembers.Given(values)),
        "ne" => !JinjaValue.AreEqual(value, JinjaMembers.Given(values)),
        "gt" => JinjaValue.Compare(value, JinjaMembers.Given(values)) > 0,
        "ge" => JinjaValue.Compare(value, JinjaMembers.Given(values)) >= 0,
        "lt" => JinjaValue.Compare(value, JinjaMembers.Given(values)) < 0,
        "le" => JinjaValue.Compare(value, JinjaMembers.Given(values)) <= 0,
        _ => throw JinjaValue.Bad($"the test \"{name}\" is not supported"),
    };

    /// <summary>Returns the entries of a mapping as tuples of name and value.</summary>
    public static List<object?> Pairs(object? value) => value is Dictionary<string, object?> map
        ? [.. map.Select(item => new JinjaTuple([item.Key, item.Value]))]
        : value == JinjaValue.Undefined ? [] : throw JinjaValue.Bad($"{JinjaValue.Kind(value)}; expected a mapping");

    public static string Capitalized(string text) => text.Length == 0 ? text : char.ToUpperInvariant(text[0]) + text[1..].ToLowerInvariant();

    public static string Title(string text) => CultureInfo.InvariantCulture.TextInfo.ToTitleCase(text.ToLowerInvariant());

    static bool Passes(object? value, IReadOnlyList<object?> values, int test) => test < values.Count
        ? Test(JinjaMembers.Words(values, test), value, [.. values.Skip(test + 1)]) : JinjaValue.IsTrue(value);

    static List<object?> Chosen(object? value, Predicate<object?> chooses) => JinjaValue.Items(value).FindAll(chooses);

    static object? Attribute(object? item, string path) => path.Split('.').Aggregate(item, JinjaMembers.Attribute);

    static IEnumerable<object?> Attributes(List<object?> items, object? attribute) => attribute is string name
        ? items.Select(item => Attribute(item, name)) : items;

    static List<object?> Map(object? value, IReadOnlyList<object?> values, IReadOnlyDictionary<string, object?> named)
    {
        var items = JinjaValue.Items(value);
        if (named.GetValueOrDefault("attribute") is string attribute)
        {
            return items.ConvertAll(item => Attribute(item, attribute) is var found && found == JinjaValue.Undefined
                && named.TryGetValue("default", out object? otherwise) ? otherwise : found);
        }
        return items.ConvertAll(item => Apply(JinjaMembers.Words(values, 0), item, [.. values.Skip(1)], named));
    }

    static List<object?> SortedPairs(List<object?> pairs, object? by, object? caseSensitive, object? reverse)
    {
        long column = by switch
        {
            "key" => 0,
            "value" => 1,
            _ => throw JinjaValue.Bad("dictsort by neither key nor value"),
        };
        return Sorted(pairs, item => JinjaMembers.Item(item, column), caseSensitive, reverse);
    }

    static List<object?> SortedItems(List<object?> items, object? attribute, object? caseSensitive, object? reverse) =>
        Sorted(items, item => attribute is string path ? Attribute(item, path) : item, caseSensitive, reverse);

    static List<object?> Sorted(List<object?> items, Func<object?, object?> key, object? caseSensitive, object? reverse)
    {
        bool isExact = JinjaValue.IsTrue(caseSensitive);
        var order = Comparer<object?>.Create((a, b) => isExact ? JinjaValue.Compare(a, b) : JinjaValue.Compare(Lower(a), Lower(b)));
        return JinjaValue.IsTrue(reverse) ? [.. items.OrderByDescending(key, order)] : [.. items.OrderBy(key, order)];
    }

    static object? Lower(object? value) => value is string text ? text.ToLowerInvariant() : value;

    static List<object?> Unique(object? value)
    {
        var result = new List<object?>();
        foreach (object? item in JinjaValue.Items(value))
            if (!result.Exists(other => JinjaValue.AreEqual(Lower(other), Lower(item)))) result.Add(item);
        return result;
    }

    static object? Whole(object? value, object? otherwise) => value switch
    {
        string text => long.TryParse(text, NumberStyles.Integer, CultureInfo.InvariantCulture, out long number) ? number : otherwise,
        double real => (long)real,
        _ => JinjaValue.Whole(value),
    };

    static string Indented(string text, object? width, bool first, bool blank)
    {
        string by = width is string given ? given : new string(' ', (int)Math.Clamp(JinjaValue.Whole(width), 0, 100));
        return string.Join('\n',
            text.Split('\n').Select((line, index) => (index == 0 && !first) || (index > 0 && line.Length == 0 && !blank) ? line : by + line));
    }
}
