namespace HybridArchitectures.Reports.Drawing;

/// <summary>Describes the lines of one run.</summary>
/// <param name="Ink">The colour on light and dark backgrounds, which no other run has.</param>
/// <param name="Dash">The dash pattern of the training loss. Null means a solid line.</param>
sealed record RunLook(Ink Ink, Dash? Dash)
{
    /// <summary>The number of runs with the same dash pattern.</summary>
    const int RunsPerDash = 7;

    /// <summary>Specifies the number of candidates for each generated colour.</summary>
    const int Candidates = 96;

    static readonly Dash?[] Dashes = [null, new(10, 4), new(10, 4, 2, 4), new(5, 4), new(16, 4), new(16, 4, 2, 4, 2, 4)];

    // the first colours are chosen by hand (after Okabe and Ito); the others are generated on demand
    static readonly List<Ink> Inks =
    [
        new("run0", "0072B2", "4FB0E8"), new("run1", "D55E00", "FF8C42"), new("run2", "009E73", "3FCFA4"), new("run3", "B0508F", "E08BC3"),
        new("run4", "9A7B00", "E0C040"), new("run5", "4B4E9E", "9A9DF0"), new("run6", "6B6B6B", "B5B5B5"),
    ];

    static readonly Lock Gate = new();

    /// <summary>
    /// Returns the look of the run at an index of a report, counted from 0. All runs have different colours; groups of seven share a dash pattern.
    /// </summary>
    public static RunLook At(int index)
    {
        lock (Gate)
        {
            while (Inks.Count <= index) Inks.Add(Farthest(Inks.Count));
            return new(Inks[index], Dashes[index / RunsPerDash % Dashes.Length]);
        }
    }

    /// <summary>Returns the colours of the first runs of a report.</summary>
    public static IReadOnlyList<Ink> CreateInks(int runs) => [.. Enumerable.Range(0, runs).Select(index => At(index).Ink)];

    // of a fixed sequence of candidates, the one whose minimum distance to the earlier colours is the maximum, on both backgrounds
    static Ink Farthest(int index)
    {
        var light = Inks.Select(ink => Oklab.From(ink.Light)).ToArray();
        var dark = Inks.Select(ink => Oklab.From(ink.Dark)).ToArray();
        double Room(Ink candidate)
        {
            Oklab onLight = Oklab.From(candidate.Light), onDark = Oklab.From(candidate.Dark);
            return Math.Min(light.Min(onLight.DistanceTo), dark.Min(onDark.DistanceTo));
        }
        return Enumerable.Range(index * Candidates, Candidates).Select(number => Candidate(index, number)).MaxBy(Room)!;
    }

    // golden-ratio steps cover hue, lightness and chroma evenly; the lightness keeps a contrast of 3:1 or more (WCAG 2.1, 1.4.11)
    static Ink Candidate(int index, int number)
    {
        static double Share(double step, int number) => step * number % 1;
        double hue = 2 * Math.PI * Share(0.6180339887498949, number);
        double tone = Share(0.7548776662466927, number), chroma = 0.06 + 0.12 * Share(0.5698402909980532, number);
        Oklab light = Oklab.FromCylinder(0.36 + 0.26 * tone, chroma, hue), dark = Oklab.FromCylinder(0.62 + 0.28 * tone, chroma, hue);
        return new($"run{index}", light.ToHex(), dark.ToHex());
    }
}
