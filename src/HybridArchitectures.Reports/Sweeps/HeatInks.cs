using HybridArchitectures.Reports.Drawing;

namespace HybridArchitectures.Reports.Sweeps;

/// <summary>Contains the colours of heat maps: from pale to deep blue, the same on light and dark paper, because the cells contain numbers.</summary>
static class HeatInks
{
    const int Steps = 10;

    /// <summary>Gets all colours.</summary>
    public static IReadOnlyList<Ink> All { get; } = [.. Enumerable.Range(0, Steps + 1).Select(step =>
    {
        string colour = Oklab.FromCylinder(0.95 - 0.055 * step, 0.02 + 0.011 * step, 4.4).ToHex();
        return new Ink($"heat{step}", colour, colour);
    })];

    /// <summary>Returns the colour of a share, 0 to 1.</summary>
    public static Ink At(double share) => All[(int)Math.Round(share * Steps)];
}
