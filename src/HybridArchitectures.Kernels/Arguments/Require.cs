using System.Collections;
using System.Globalization;
using System.Numerics;
using System.Runtime.CompilerServices;
using Device = TorchSharp.torch.Device;
using DeviceType = TorchSharp.DeviceType;
using Tensor = TorchSharp.torch.Tensor;

namespace HybridArchitectures.Kernels.Arguments;

/// <summary>
/// Checks arguments and creates the exceptions for unfit ones. It is the only place that words them: every message reads
/// "name is VALUE; expected EXPECTED.", or, where a property of the argument is unfit, "x has shape VALUE; expected EXPECTED."
/// </summary>
static class Require
{
    /// <summary>Specifies the maximum of widths and counts. It prevents an overflow of parameter counts.</summary>
    public const int MaxSize = 1 << 20;

    /// <summary>Throws an <see cref="ArgumentException"/> unless a condition holds.</summary>
    public static void That(bool holds, string name, object? value, string expected)
    {
        if (!holds) throw Refusal(name, value, expected);
    }

    /// <summary>Throws an <see cref="ArgumentOutOfRangeException"/> unless a condition holds.</summary>
    public static void InRange<T>(bool holds, string name, T value, string expected)
    {
        if (!holds) throw OutOfRange(name, value, expected);
    }

    /// <summary>Checks a minimum and returns the value.</summary>
    public static T AtLeast<T>(T value, T minimum, [CallerArgumentExpression(nameof(value))] string name = "") where T : INumber<T> =>
        value >= minimum ? value : throw OutOfRange(name, value, $"at least {minimum}");

    /// <summary>Checks a width or a count: 1 to <see cref="MaxSize"/>.</summary>
    public static void Size(long value, [CallerArgumentExpression(nameof(value))] string name = "") =>
        InRange(value is >= 1 and <= MaxSize, name, value, value < 1 ? "at least 1" : $"at most {MaxSize}");

    /// <summary>Checks that a number is a power of two.</summary>
    public static void PowerOfTwo(int value, [CallerArgumentExpression(nameof(value))] string name = "") =>
        InRange(value > 0 && BitOperations.IsPow2(value), name, value, "a power of two");

    /// <summary>Checks that a number is finite and above 0, and returns it.</summary>
    public static double Positive(double value, [CallerArgumentExpression(nameof(value))] string name = "") =>
        double.IsFinite(value) && value > 0 ? value : throw OutOfRange(name, value, "a finite number above 0");

    /// <summary>Checks that a number is finite and at least 0, and returns it.</summary>
    public static double NotNegative(double value, [CallerArgumentExpression(nameof(value))] string name = "") =>
        double.IsFinite(value) && value >= 0 ? value : throw OutOfRange(name, value, "a finite number of at least 0");

    /// <summary>Checks that a number is above 0 and at most 1, and returns it.</summary>
    public static double Fraction(double value, [CallerArgumentExpression(nameof(value))] string name = "") =>
        value is > 0 and <= 1 ? value : throw OutOfRange(name, value, "a number above 0 and at most 1");

    /// <summary>Checks that a number is from 0 to 1, and returns it.</summary>
    public static double ZeroToOne(double value, [CallerArgumentExpression(nameof(value))] string name = "") =>
        value is >= 0 and <= 1 ? value : throw OutOfRange(name, value, "a number from 0 to 1");

    /// <summary>Checks that one size divides another.</summary>
    public static void Divides(int divisor, string divisorName, int value, string valueName) =>
        InRange(divisor > 0 && value % divisor == 0, divisorName, divisor, $"a divisor of {valueName} = {value}");

    /// <summary>Checks that an enumeration defines a value, or each flag of it, and returns the value.</summary>
    public static T Defined<T>(T value, [CallerArgumentExpression(nameof(value))] string name = "") where T : struct, Enum
    {
        InRange(IsDefined(value), name, value, $"one of {string.Join(", ", Enum.GetNames<T>())}");
        return value;
    }

    /// <inheritdoc cref="Defined{T}(T, string)"/>
    public static T? Defined<T>(T? value, [CallerArgumentExpression(nameof(value))] string name = "") where T : struct, Enum =>
        value is { } given ? Defined(given, name) : null;

    /// <summary>Checks the type of a device, unless it is null. Native code ends the process at a type that it does not know.</summary>
    public static void KnownDevice(Device? device, [CallerArgumentExpression(nameof(device))] string name = "")
    {
        if (device is not null && !Enum.IsDefined(device.type))
            throw Unfit(name, $"{name} is of type {device.type}", $"one of {string.Join(", ", Enum.GetNames<DeviceType>())}");
    }

    /// <summary>Checks that a tensor is neither null nor disposed. Native code reports a disposed one without its name.</summary>
    public static void Alive(Tensor? tensor, [CallerArgumentExpression(nameof(tensor))] string name = "")
    {
        ArgumentNullException.ThrowIfNull(tensor, name);
        if (tensor.IsInvalid) throw Unfit(Parameter(name), $"{name} is disposed", "a tensor that is not disposed");
    }

    /// <summary>Checks that a part of an argument is not null.</summary>
    public static void Present(object? value, string name, string expected) => That(value is not null, name, value, expected);

    /// <summary>
    /// Checks that a list is not null, that none of its items is null, and that no item is a tuple with a null part. Returns the list.
    /// </summary>
    public static TList Items<TList>(TList? list, [CallerArgumentExpression(nameof(list))] string name = "") where TList : class, IEnumerable
    {
        ArgumentNullException.ThrowIfNull(list, name);
        int index = 0;
        foreach (object? item in list) Item(item, name, index++);
        return list;
    }

    /// <summary>Checks that a sequence is not null, and checks its items as <see cref="Items"/> does while the sequence is read.</summary>
    public static IEnumerable<T> EachItem<T>(IEnumerable<T>? items, [CallerArgumentExpression(nameof(items))] string name = "")
    {
        ArgumentNullException.ThrowIfNull(items, name);
        return items.Select((item, index) =>
        {
            Item(item, name, index);
            return item;
        });
    }

    /// <summary>Checks that a dictionary is not null and that none of its values is null.</summary>
    public static void Values<TKey, TValue>(
        IReadOnlyDictionary<TKey, TValue>? values, [CallerArgumentExpression(nameof(values))] string name = "")
    {
        ArgumentNullException.ThrowIfNull(values, name);
        foreach (var (key, value) in values) Present(value, $"{name}[{Show(key)}]", "a value");
    }

    /// <summary>Checks that a text is neither null nor empty.</summary>
    public static void NotEmpty(string? value, [CallerArgumentExpression(nameof(value))] string name = "")
    {
        ArgumentNullException.ThrowIfNull(value, name);
        That(value.Length > 0, name, value, "a text that is not empty");
    }

    /// <summary>Checks that a text is not null and has a character other than white space.</summary>
    public static void NotBlank(string? value, [CallerArgumentExpression(nameof(value))] string name = "")
    {
        ArgumentNullException.ThrowIfNull(value, name);
        That(!string.IsNullOrWhiteSpace(value), name, value, "a text that is not blank");
    }

    /// <summary>Creates the exception for an unfit value.</summary>
    public static ArgumentException Refusal(string name, object? value, string expected, Exception? inner = null) =>
        new(Message($"{name} is {Show(value)}", expected), Parameter(name), inner);

    /// <summary>Creates the exception for a number outside its range.</summary>
    public static ArgumentOutOfRangeException OutOfRange(string name, object? value, string expected, string? parameter = null) =>
        new(parameter ?? Parameter(name), Message($"{name} is {Show(value)}", expected));

    /// <summary>Creates the exception for a number outside its range in a list or tensor.</summary>
    public static ArgumentOutOfRangeException Holding(string name, object? value, string expected) =>
        new(Parameter(name), Message($"{name} holds {Show(value)}", expected));

    /// <summary>Creates the exception for an unfit property of an argument, such as "x has shape (2, 3)".</summary>
    public static ArgumentException Unfit(string? name, string found, string expected, Exception? inner = null) =>
        new(Message(found, expected), name, inner);

    /// <summary>
    /// Creates the exception for an argument that another exception explains. The message of that exception is kept alone if it says what was
    /// expected.
    /// </summary>
    public static ArgumentException Because(string name, string found, Exception reason, string expected)
    {
        string text = Text(reason).TrimEnd('.');
        return text.Contains("; expected ", StringComparison.Ordinal) ? new($"{found}: {text}.", name, reason)
            : Unfit(name, $"{found}: {text}", expected, reason);
    }

    /// <summary>Returns the message of every exception: "FOUND; expected EXPECTED."</summary>
    public static string Message(string found, string expected) => expected.EndsWith('.') ? $"{found}; expected {expected}"
        : $"{found}; expected {expected}.";

    /// <summary>Runs a check and prepends the position to the message of its exception.</summary>
    public static void Within(string location, Action check)
    {
        try
        {
            check();
        }
        catch (ArgumentException refusal)
        {
            throw new ArgumentException($"{location}: {Text(refusal)}", refusal.ParamName, refusal);
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

    static bool IsDefined<T>(T value) where T : struct, Enum
    {
        if (Enum.IsDefined(value)) return true;
        if (!typeof(T).IsDefined(typeof(FlagsAttribute), inherit: false)) return false;
        long all = Enum.GetValues<T>().Aggregate(0L, (bits, flag) => bits | Convert.ToInt64(flag, CultureInfo.InvariantCulture));
        return (Convert.ToInt64(value, CultureInfo.InvariantCulture) & ~all) == 0;
    }

    static void Item(object? item, string name, int index)
    {
        Present(item, $"{name}[{index}]", "a value");
        if (item is not ITuple tuple) return;
        for (int part = 0; part < tuple.Length; part++) Present(tuple[part], $"{name}[{index}].Item{part + 1}", "a value");
    }

    // "options.Rank" and "slots[3]" belong to the parameters "options" and "slots"
    static string Parameter(string name) => name.IndexOfAny(['.', '[', ' ']) is var end and > 0 ? name[..end] : name;

    static string Show(object? value) => value switch
    {
        null => "null",
        string text => $"\"{text}\"",
        IFormattable number => number.ToString(null, CultureInfo.InvariantCulture),
        ICollection list => $"({string.Join(", ", list.Cast<object?>().Select(Show))})",
        _ => value.ToString() ?? "null",
    };
}
