using System.Globalization;

namespace HybridArchitectures.Design;

/// <summary>Checks arguments. The exceptions contain the argument, its value, and what was expected.</summary>
static class Require
{
    public const int MaxSize = 1 << 20;

    public static void That(bool holds, string name, object? was, string expected)
    {
        if (!holds) throw Refusal(name, was, expected);
    }

    public static void AtLeast(long value, long minimum, string name) => That(value >= minimum, name, value, $"at least {minimum}");

    /// <summary>Checks a width or a count. The maximum prevents an overflow of parameter counts.</summary>
    public static void Size(long value, string name) =>
        That(value is >= 1 and <= MaxSize, name, value, value < 1 ? "at least 1" : $"at most {MaxSize}");

    public static void Positive(double value, string name) => That(double.IsFinite(value) && value > 0, name, value, "a finite number above 0");

    public static void NotNegative(double value, string name) =>
        That(double.IsFinite(value) && value >= 0, name, value, "a finite number of at least 0");

    public static void Divides(int divisor, string divisorName, int value, string valueName) =>
        That(divisor > 0 && value % divisor == 0, divisorName, divisor, $"a divisor of {valueName} = {value}");

    public static void Defined<T>(T value, string name) where T : struct, Enum =>
        That(Enum.IsDefined(value), name, value, $"one of {string.Join(", ", Enum.GetNames<T>())}");

    public static void Present(object? value, string name, string expected) => That(value is not null, name, null, expected);

    public static ArgumentException Refusal(string name, object? was, string expected) => new($"{name} is {Show(was)}; expected {expected}", name);

    /// <summary>Runs a check and prepends the position to the message of its exception.</summary>
    public static void Within(string place, Action check)
    {
        try
        {
            check();
        }
        catch (ArgumentException refusal)
        {
            throw new ArgumentException($"{place}: {Text(refusal)}", refusal.ParamName, refusal);
        }
    }

    /// <summary>
    /// Returns the message of an exception without the suffix "(Parameter 'name')" that the runtime appends, so that other messages can contain it.
    /// </summary>
    public static string Text(Exception error)
    {
        if (error is not ArgumentException { ParamName: { } name }) return error.Message;
        string suffix = $" (Parameter '{name}')";
        return error.Message.EndsWith(suffix, StringComparison.Ordinal) ? error.Message[..^suffix.Length] : error.Message;
    }

    static string Show(object? value) => value switch
    {
        null => "null",
        string text => $"\"{text}\"",
        IFormattable number => number.ToString(null, CultureInfo.InvariantCulture),
        _ => value.ToString() ?? "null",
    };
}
