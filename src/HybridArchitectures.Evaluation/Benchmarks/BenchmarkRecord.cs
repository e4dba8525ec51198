using System.Collections;
using System.Globalization;

namespace HybridArchitectures.Evaluation;

/// <summary>One record of a benchmark's file: named values that are texts, numbers, truth values, lists or records.</summary>
/// <param name="values">The values by name.</param>
/// <param name="place">Where the record stands, for messages.</param>
public sealed class BenchmarkRecord(IReadOnlyDictionary<string, object?> values, string place)
{
    /// <summary>Gets whether the record has a value of this name.</summary>
    public bool Has(string name) => values.TryGetValue(name, out var value) && value is not null;

    /// <summary>Returns a text. Numbers and truth values are written out (<c>1</c>, <c>true</c>).</summary>
    /// <exception cref="InvalidDataException">There is no such value, or it is a list or record.</exception>
    public string Text(string name) => Find(name) switch
    {
        string text => text,
        bool truth => truth ? "true" : "false",
        IFormattable number => number.ToString(null, CultureInfo.InvariantCulture),
        _ => throw Unfit(name, "a text"),
    };

    /// <summary>Returns an integer, which may be written as a text.</summary>
    /// <exception cref="InvalidDataException">There is no such value, or it is no integer.</exception>
    public int Integer(string name) => Find(name) switch
    {
        bool truth => truth ? 1 : 0,
        string text when int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out int value) => value,
        IConvertible number and not string when number.ToDouble(CultureInfo.InvariantCulture) is var value && value == Math.Truncate(value)
            && Math.Abs(value) < int.MaxValue =>
            (int)value,
        _ => throw Unfit(name, "an integer"),
    };

    /// <summary>Returns a list of texts.</summary>
    /// <exception cref="InvalidDataException">There is no such value, or it is no list of texts.</exception>
    public IReadOnlyList<string> Texts(string name)
    {
        var value = Find(name);
        if (value is string or IDictionary || value is not IEnumerable items) throw Unfit(name, "a list of texts");
        return [.. items.Cast<object?>().Select(item => item as string ?? throw Unfit(name, "a list of texts"))];
    }

    /// <summary>Returns a record inside this one.</summary>
    /// <exception cref="InvalidDataException">There is no such value, or it is no record.</exception>
    public BenchmarkRecord Record(string name)
    {
        return Find(name) switch
        {
            IReadOnlyDictionary<string, object?> inner => new(inner, $"{place}: {name}"),
            IDictionary<string, object?> inner => new(inner.ToDictionary(), $"{place}: {name}"),
            _ => throw Unfit(name, "a record"),
        };
    }

    /// <summary>Creates the exception for a value that cannot be used.</summary>
    /// <param name="name">The value's name.</param>
    /// <param name="expected">What was expected.</param>
    public InvalidDataException Unfit(string name, string expected) =>
        new($"{place}: '{name}' is {(Has(name) ? Describe(values[name]) : "absent")}; expected {expected}. The record has "
            + $"{string.Join(", ", values.Keys)}.");

    static string Describe(object? value) => value is string or IFormattable or bool ? $"\"{value}\"" : "a list or record";

    object Find(string name) => values.TryGetValue(name, out var value) && value is not null ? value : throw Unfit(name, "a value");
}
