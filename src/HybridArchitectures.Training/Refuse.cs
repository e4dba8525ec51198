using System.Globalization;

namespace HybridArchitectures.Training;

static class Refuse
{
    public static void Unless<T>(bool allowed, T value, string name, string expected)
    {
        if (!allowed)
            throw new ArgumentOutOfRangeException(
                name, value, string.Create(CultureInfo.InvariantCulture, $"{name} is {value}; expected {expected}"));
    }
}
