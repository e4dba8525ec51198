namespace HybridArchitectures.Design;

/// <summary>Converts a ratio to a number of blocks, and a placement to positions.</summary>
static class PlacementRule
{
    /// <summary>Returns how many of <paramref name="depth"/> blocks have the first kind at the ratio first:second, rounded half up.</summary>
    public static int Count(int depth, int first, int second)
    {
        long parts = (long)first + second;
        return (int)((2L * depth * first + parts) / (2 * parts));
    }

    /// <summary>Returns the positions, counted from 1 and ascending, of <paramref name="count"/> among <paramref name="depth"/> blocks.</summary>
    public static int[] Positions(Placement placement, int depth, int count)
    {
        if (count == 0) return [];
        switch (placement)
        {
            case Placement.Middle or Placement.Even:
                return Even(depth, count);
            case Placement.Front:
                return [1, .. Even(depth, count)[1..]];
            case Placement.End:
                return [.. Even(depth, count)[..^1], depth];
            case Placement.Clustered:
                return Run(CentredStart(depth, count), count);
            case Placement.Sandwich:
                Require.That(count >= 2, "placement", placement, $"another placement for {count} block, because a sandwich needs at least 2");
                int end = (2 * count + 3) / 6, middle = count - 2 * end;
                return [.. Run(1, end), .. Run(CentredStart(depth, middle), middle), .. Run(depth - end + 1, end)];
            default:
                throw Require.Refusal("placement", placement, $"one of {string.Join(", ", Enum.GetNames<Placement>())}");
        }
    }

    static int[] Even(int depth, int count) =>
        [.. Enumerable.Range(1, count).Select(k => (int)((2L * k * (depth + 1) + count + 1) / (2L * (count + 1))))];

    static int CentredStart(int depth, int count) => (depth - count + 1) / 2 + 1;

    static int[] Run(int start, int count) => [.. Enumerable.Range(start, count)];
}
