using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using System.Numerics;
using System.Text.RegularExpressions;

namespace HybridArchitectures.Cli.Inputs;

/// <summary>Words errors with the names that a user types.</summary>
static partial class FlagErrors
{
    /// <summary>
    /// Replaces the name of a setting at the beginning of a message by the name of the flag that sets it: "LearningRate is -1; expected ..." becomes
    /// "--learning-rate is -1; expected ...".
    /// </summary>
    /// <param name="message">The message.</param>
    /// <param name="flagOf">Returns the flag or key of a setting, or null if there is none.</param>
    public static string Rename(string message, Func<string, string?> flagOf)
    {
        var match = Beginning().Match(message);
        if (!match.Success || flagOf(match.Groups["setting"].Value) is not { } flag) return message;
        string rest = message[match.Length..];
        return match.Groups["count"].Success ? $"{flag} has {rest.Replace(";", " values;", StringComparison.Ordinal)}"
            : $"{flag} {match.Groups["verb"].Value} {rest}";
    }

    /// <summary>Returns the flag of a command that sets a setting, or null.</summary>
    public static string? FlagOf(Command command, string setting) => command.Options.OfType<IFlag>()
        .FirstOrDefault(flag => flag.Settings.Contains(setting, StringComparer.OrdinalIgnoreCase))?.Name;

    /// <summary>Returns the text of an error of a command line. Values that cannot be read are shown with the kind of value expected.</summary>
    public static string Describe(ParseError error)
    {
        var owner = error.SymbolResult is ArgumentResult { Parent: OptionResult parent } ? parent : error.SymbolResult as OptionResult;
        if (owner is null) return error.Message;
        var type = owner.Option.ValueType.IsArray ? owner.Option.ValueType.GetElementType()! : owner.Option.ValueType;
        type = Nullable.GetUnderlyingType(type) ?? type;
        foreach (var token in owner.Tokens)
            if (Expected(type, token.Value) is { } expected) return $"{owner.Option.Name} is '{token.Value}'; expected {expected}.";
        return error.Message;
    }

    // the kind of value of a type if the text is none, and otherwise null
    static string? Expected(Type type, string text)
    {
        var invariant = CultureInfo.InvariantCulture;
        if (type == typeof(int) || type == typeof(long))
        {
            if (!BigInteger.TryParse(text, NumberStyles.Integer, invariant, out var whole)) return "a whole number";
            var (minimum, maximum) = type == typeof(int) ? (int.MinValue, int.MaxValue) : (long.MinValue, long.MaxValue);
            if (whole > maximum) return $"a whole number of at most {maximum}";
            return whole < minimum ? $"a whole number of at least {minimum}" : null;
        }
        if (type == typeof(double))
            return double.TryParse(text, NumberStyles.Float, invariant, out _) ? null : "a number with a decimal point, such as 0.5";
        if (type == typeof(bool)) return bool.TryParse(text, out _) ? null : "true or false";
        return type.IsEnum && !Enum.TryParse(type, text, ignoreCase: true, out _) ? $"one of {string.Join(", ", Enum.GetNames(type))}" : null;
    }

    [GeneratedRegex(@"^(?:\w+\.)??(?<setting>\w+)(?<count>\.Count)? (?<verb>is|holds) ")]
    private static partial Regex Beginning();
}
