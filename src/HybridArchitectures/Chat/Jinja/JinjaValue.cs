using System.Collections;
using System.Globalization;
using System.Text;

namespace HybridArchitectures.Chat.Jinja;

/// <summary>Represents a function that a template can call.</summary>
/// <param name="values">The arguments by position.</param>
/// <param name="named">The arguments by name.</param>
delegate object? JinjaFunction(IReadOnlyList<object?> values, IReadOnlyDictionary<string, object?> named);

/// <summary>
/// Implements operations on the values of templates, with the semantics of Python. The types are null, <see cref="Undefined"/>, bool, long, double,
/// string, <c>List&lt;object?&gt;</c>, <see cref="JinjaTuple"/>, <c>Dictionary&lt;string, object?&gt;</c> and <see cref="JinjaFunction"/>.
/// </summary>
static class JinjaValue
{
    const int MaxItems = 100_000, MaxText = 1 << 24;

    /// <summary>The value of a name that does not exist.</summary>
    public static object Undefined { get; } = new();

    public static InvalidDataException Bad(string why) => new($"the chat template cannot be rendered: {why}");

    public static bool IsTrue(object? value) => value switch
    {
        null => false,
        bool flag => flag,
        long number => number != 0,
        double number => number != 0,
        string text => text.Length > 0,
        ICollection items => items.Count > 0,
        _ => value != Undefined,
    };

    public static string Kind(object? value) => value switch
    {
        null => "none",
        bool => "a flag",
        long or double => "a number",
        string => "a text",
        List<object?> => "a list",
        Dictionary<string, object?> => "a mapping",
        JinjaFunction => "a function",
        _ => "undefined",
    };

    public static string Text(object? value) => value switch
    {
        string text => text,
        _ when value == Undefined => "",
        _ => Repr(value),
    };

    static string Repr(object? value) => value switch
    {
        null => "None",
        bool flag => flag ? "True" : "False",
        long number => number.ToString(CultureInfo.InvariantCulture),
        double number => Number(number),
        string text => Quoted(text),
        JinjaTuple items => $"({string.Join(", ", items.Select(Repr))}{(items.Count == 1 ? "," : "")})",
        List<object?> items => $"[{string.Join(", ", items.Select(Repr))}]",
        Dictionary<string, object?> map => $"{{{string.Join(", ", map.Select(item => $"{Repr(item.Key)}: {Repr(item.Value)}"))}}}",
        _ => throw Bad($"{Kind(value)} cannot be written"),
    };

    static string Quoted(string text)
    {
        char quote = text.Contains('\'') && !text.Contains('"') ? '"' : '\'';
        var quoted = new StringBuilder(text).Replace("\\", "\\\\").Replace("\n", "\\n").Replace("\r", "\\r").Replace("\t", "\\t");
        if (quote == '\'') quoted.Replace("'", "\\'");
        return $"{quote}{quoted}{quote}";
    }

    // as Python does: the fewest digits that give the number, with an exponent below 1e-4 and from 1e16
    static string Number(double number)
    {
        if (!double.IsFinite(number)) return double.IsNaN(number) ? "nan" : number > 0 ? "inf" : "-inf";
        string text = number.ToString("R", CultureInfo.InvariantCulture), sign = double.IsNegative(number) ? "-" : "";
        int mark = text.IndexOf('E');
        int exponent = mark < 0 ? 0 : int.Parse(text.AsSpan(mark + 1), NumberStyles.Integer, CultureInfo.InvariantCulture);
        string mantissa = (mark < 0 ? text : text[..mark]).TrimStart('-'), all = mantissa.Replace(".", "");
        string digits = all.TrimStart('0').TrimEnd('0');
        if (digits.Length == 0) return sign + "0.0";
        int dot = mantissa.IndexOf('.'), leading = all.Length - all.TrimStart('0').Length;
        // the number is 0.digits x 10^point
        int point = (dot < 0 ? mantissa.Length : dot) + exponent - leading;
        if (point is <= -4 or > 16)
        {
            string rest = digits.Length > 1 ? "." + digits[1..] : "", power = Math.Abs(point - 1).ToString("00", CultureInfo.InvariantCulture);
            return $"{sign}{digits[0]}{rest}e{(point > 0 ? '+' : '-')}{power}";
        }
        if (point <= 0) return $"{sign}0.{new string('0', -point)}{digits}";
        return point >= digits.Length ? $"{sign}{digits}{new string('0', point - digits.Length)}.0" : $"{sign}{digits[..point]}.{digits[point..]}";
    }

    public static bool AreEqual(object? left, object? right) => (left, right) switch
    {
        (bool a, long b) => (a ? 1 : 0) == b,
        (long a, bool b) => a == (b ? 1 : 0),
        (long a, double b) => a == b,
        (double a, long b) => a == b,
        (List<object?> a, List<object?> b) => a is JinjaTuple == b is JinjaTuple && a.Count == b.Count
            && a.Zip(b).All(pair => AreEqual(pair.First, pair.Second)),
        (Dictionary<string, object?> a, Dictionary<string, object?> b) => a.Count == b.Count
            && a.All(item => b.TryGetValue(item.Key, out object? other) && AreEqual(item.Value, other)),
        _ => Equals(left, right),
    };

    /// <summary>Returns whether two values are the same object. Equal texts, numbers and flags of one type are.</summary>
    public static bool AreSame(object? left, object? right) => left is string or long or double or bool ? Equals(left, right)
        : ReferenceEquals(left, right);

    public static int Compare(object? left, object? right) => (left, right) switch
    {
        (string a, string b) => string.CompareOrdinal(a, b),
        (long or double or bool, long or double or bool) => Real(left).CompareTo(Real(right)),
        _ => throw Bad($"{Kind(left)} and {Kind(right)} cannot be compared"),
    };

    public static bool Contains(object? container, object? item) => container switch
    {
        string text => item is string part ? text.Contains(part, StringComparison.Ordinal) : throw Bad($"{Kind(item)} cannot be in a text"),
        List<object?> items => items.Exists(other => AreEqual(other, item)),
        Dictionary<string, object?> map => item is string key && map.ContainsKey(key),
        _ when container == Undefined => false,
        _ => throw Bad($"{Kind(container)} cannot contain anything"),
    };

    public static double Real(object? value) => value switch
    {
        long number => number,
        double number => number,
        bool flag => flag ? 1 : 0,
        _ => throw Bad($"{Kind(value)}; expected a number"),
    };

    public static long Whole(object? value) => value switch
    {
        long number => number,
        bool flag => flag ? 1 : 0,
        _ => throw Bad($"{Kind(value)}; expected an integer"),
    };

    /// <summary>Returns the items over which a loop iterates.</summary>
    public static List<object?> Items(object? value) => value switch
    {
        List<object?> items => items,
        Dictionary<string, object?> map => [.. map.Keys],
        string text => [.. text.EnumerateRunes().Select(rune => rune.ToString())],
        _ when value == Undefined => [],
        _ => throw Bad($"{Kind(value)}; expected a list"),
    };

    /// <summary>Joins texts. The length of the result is limited.</summary>
    public static string Joined(IReadOnlyList<string> texts, string between)
    {
        RequireLength(texts.Sum(text => (long)text.Length + between.Length));
        return string.Join(between, texts);
    }

    /// <summary>Replaces a text by another one. The length of the result is limited.</summary>
    /// <param name="text">The text.</param>
    /// <param name="old">The replaced text.</param>
    /// <param name="by">The text that takes its place.</param>
    /// <param name="count">The maximum number of replacements. Null or a negative number means all.</param>
    public static string Replaced(string text, string old, string by, object? count = null)
    {
        if (old.Length == 0) throw Bad("replace of an empty text");
        RequireLength((long)text.Length / old.Length * by.Length);
        if (count is null || Whole(count) < 0) return text.Replace(old, by, StringComparison.Ordinal);
        return string.Join(by, text.Split(old, (int)Math.Min(Whole(count), int.MaxValue - 1) + 1));
    }

    /// <summary>Returns the text in upper case as Python writes it.</summary>
    public static string Upper(string text) => text.ToUpperInvariant().Replace("ß", "SS", StringComparison.Ordinal);

    static void RequireLength(long length)
    {
        if (length > MaxText) throw Bad($"a text of more than {MaxText} characters");
    }

    public static object? Arithmetic(string sign, object? left, object? right)
    {
        if (sign == "+" && left is string text && right is string more) return Joined([text, more], "");
        if (sign == "+" && left is List<object?> items && right is List<object?> others)
        {
            if (items.Count + others.Count > MaxItems) throw Bad($"a list of more than {MaxItems} items");
            if (items is JinjaTuple != others is JinjaTuple) throw Bad("the sum of a tuple and a list");
            return items is JinjaTuple ? new JinjaTuple([.. items, .. others]) : new List<object?>([.. items, .. others]);
        }
        if (sign == "*" && left is string repeated && right is long count)
        {
            if (count > MaxItems) throw Bad($"a text repeated more than {MaxItems} times");
            return Joined([.. Enumerable.Repeat(repeated, (int)Math.Max(count, 0))], "");
        }
        if (left is long or bool && right is long or bool && sign is "+" or "-" or "*" or "//" or "%")
        {
            if (Whole(right) == 0 && sign is "//" or "%") throw Bad("a division by 0");
            return Whole(sign, Whole(left), Whole(right));
        }
        double a = Real(left), b = Real(right);
        return sign switch
        {
            "+" => a + b,
            "-" => a - b,
            "*" => a * b,
            "/" => b == 0 ? throw Bad("a division by 0") : a / b,
            "//" => Math.Floor(a / b),
            "%" => a - b * Math.Floor(a / b),
            _ => left is long && right is long exponent and >= 0 ? Power(a, exponent) : Math.Pow(a, b),
        };
    }

    static object Power(double a, long exponent) =>
        Math.Pow(a, exponent) is var power && Math.Abs(power) < 1L << 62 ? (long)power : throw Bad("an integer of more than 62 bits");

    // integer division rounds down, as in Python
    static long Whole(string sign, long a, long b)
    {
        // in 128 bits, no operation on two numbers of 64 bits overflows
        Int128 x = a, y = b;
        Int128 rest = sign is "//" or "%" ? (x % y + y) % y : 0;
        var result = sign switch
        {
            "+" => x + y,
            "-" => x - y,
            "*" => x * y,
            "//" => (x - rest) / y,
            _ => rest,
        };
        return result >= long.MinValue && result <= long.MaxValue ? (long)result : throw Bad("an integer of more than 64 bits");
    }
}
