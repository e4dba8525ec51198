using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using System.Numerics;

/// <summary>
/// Creates options that are numbers with a decimal point in every culture. Numbers outside their range are refused by the name of the option.
/// </summary>
static class NumberOption
{
    /// <summary>Makes an option with a default.</summary>
    public static Option<T> Create<T>(string name, string description, T standard, T min, T max) where T : struct, INumber<T> =>
        new(name) { Description = description, DefaultValueFactory = _ => standard, CustomParser = result => Parse(result, name, min, max) };

    /// <summary>Makes an option that may be left out.</summary>
    public static Option<T?> Optional<T>(string name, string description, T min, T max) where T : struct, INumber<T> =>
        new(name) { Description = description, CustomParser = result => Parse(result, name, min, max) };

    static T Parse<T>(ArgumentResult result, string name, T min, T max) where T : struct, INumber<T>
    {
        bool whole = T.IsInteger(T.One / (T.One + T.One));
        var text = result.Tokens[0].Value;
        var style = whole ? NumberStyles.AllowLeadingSign : NumberStyles.Float;
        if (T.TryParse(text, style, CultureInfo.InvariantCulture, out var value) && value >= min && value <= max) return value;
        var kind = whole ? "a whole number" : "a number with a decimal point";
        result.AddError(string.Create(CultureInfo.InvariantCulture, $"{name} is '{text}'; expected {kind} from {min} to {max}"));
        return default;
    }
}
