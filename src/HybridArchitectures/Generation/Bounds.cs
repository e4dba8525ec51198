namespace HybridArchitectures.Generation;

/// <summary>Checks the range of options.</summary>
static class Bounds
{
    public static double Positive(double value, string name) =>
        double.IsFinite(value) && value > 0 ? value
            : throw new ArgumentOutOfRangeException(name, value, $"{name} is {value}; expected a finite number above 0");

    public static double ZeroOrPositive(double value, string name) =>
        double.IsFinite(value) && value >= 0
            ? value : throw new ArgumentOutOfRangeException(name, value, $"{name} is {value}; expected a finite number of at least 0");

    public static double Fraction(double value, string name) =>
        value > 0 && value <= 1 ? value
            : throw new ArgumentOutOfRangeException(name, value, $"{name} is {value}; expected a number above 0 and at most 1");

    public static double ZeroToOne(double value, string name) =>
        value >= 0 && value <= 1 ? value : throw new ArgumentOutOfRangeException(name, value, $"{name} is {value}; expected a number from 0 to 1");

    public static int AtLeastOne(int value, string name) =>
        value >= 1 ? value : throw new ArgumentOutOfRangeException(name, value, $"{name} is {value}; expected at least 1");
}
