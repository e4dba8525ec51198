namespace HybridArchitectures.Design;

/// <summary>Formats ascending numbers with runs as ranges: <c>1-3, 5</c>.</summary>
static class Ranges
{
    public static string Format(IReadOnlyList<int> numbers)
    {
        var ranges = new List<string>();
        for (int i = 0; i < numbers.Count;)
        {
            int last = i;
            while (last + 1 < numbers.Count && numbers[last + 1] == numbers[last] + 1) last++;
            ranges.Add(last == i ? $"{numbers[i]}" : $"{numbers[i]}-{numbers[last]}");
            i = last + 1;
        }
        return string.Join(", ", ranges);
    }
}
