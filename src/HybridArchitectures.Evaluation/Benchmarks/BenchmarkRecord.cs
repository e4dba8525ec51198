using System.Collections;
using System.Globalization;

namespace HybridArchitectures.Evaluation.Benchmarks;

/// <summary>Represents one record of a benchmark file: named values that are texts, numbers, Booleans, lists or records.</summary>
/// <param name="values">The values by name.</param>
/// <param name="location">The file and line of the record, for messages.</param>
public sealed class BenchmarkRecord(IReadOnlyDictionary<string, object?> values, string location)
{
    /// <summary>Gets whether the record has a value of this name.</summary>
    public bool Has(string name) => values.TryGetValue(name ?? throw new ArgumentNullException(nameof(name)), out var value) && value is not null;

    /// <summary>Returns a text. Numbers and Booleans are converted (<c>1</c>, <c>true</c>).</summary>
    /// <exception cref="InvalidDataException">The value does not exist, or it is a list or record.</exception>
    public string Text(string name) => Find(name) switch
    {
        string text => text,
        bool truth => truth ? "true" : "false",
        IFormattable number => number.ToString(null, CultureInfo.InvariantCulture),
        _ => throw Unfit(name, "a text"),
    };

    /// <summary>Returns an integer, which may be written as a text.</summary>
    /// <exception cref="InvalidDataException">The value does not exist, or it is not an integer.</exception>
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
    /// <exception cref="InvalidDataException">The value does not exist, or it is not a list of texts.</exception>
    public IReadOnlyList<string> Texts(string name)
    {
        var value = Find(name);
        if (value is string or IDictionary || value is not IEnumerable items) throw Unfit(name, "a list of texts");
        return [.. items.Cast<object?>().Select(item => item as string ?? throw Unfit(name, "a list of texts"))];
    }

    /// <summary>Returns a record that is a value of this record.</summary>
    /// <exception cref="InvalidDataException">The value does not exist, or it is not a record.</exception>
    public BenchmarkRecord Record(string name)
    {
        return Find(name) switch
        {
            IReadOnlyDictionary<string, object?> inner => new(inner, $"{location}: {name}"),
            IDictionary<string, object?> inner => new(inner.ToDictionary(), $"{location}: {name}"),
            _ => throw Unfit(name, "a record"),
        };
    }

    /// <summary>Creates the exception for a value that cannot be used.</summary>
    /// <param name="name">The name of the value.</param>
    /// <param name="expected">A description of the expected value.</param>
    public InvalidDataException Unfit(string name, string expected) =>
        new($"{location}: '{name}' is {(Has(name) ? Describe(values[name]) : "absent")}; expected {expected}. The record has "
            + $"{string.Join(", ", values.Keys)}.");

    static string Describe(object? value) => value is string or IFormattable or bool ? $"\"{value}\"" : "a list or record";

    object Find(string name) => Has(name) ? values[name]! : throw Unfit(name, "a value");
}
