namespace HybridArchitectures.Training.Data;

/// <summary>Selects which texts are held out, by their names and sizes only, so that every run and machine selects the same texts.</summary>
static class HeldOutSplit
{
    /// <summary>
    /// Selects items in the order of a hash of their names until the share is reached. Small items come first, so that many kinds of text are held
    /// out instead of one long text. Then larger items follow, except those that would exceed one and a half times the share.
    /// </summary>
    public static HashSet<T> Choose<T>(IReadOnlyCollection<T> items, Func<T, string> name, Func<T, long> size, double share) where T : class
    {
        double wanted = share * items.Sum(size);
        long taken = 0;
        var chosen = new HashSet<T>(ReferenceEqualityComparer.Instance);
        var order = items.OrderBy(item => Hash(name(item))).ThenBy(name, StringComparer.Ordinal).ToArray();
        foreach (double maxSize in new[] { wanted / 5, double.PositiveInfinity })
            foreach (var item in order)
            {
                if (taken >= wanted) return chosen;
                if (size(item) > maxSize || taken + size(item) > 1.5 * wanted || !chosen.Add(item)) continue;
                taken += size(item);
            }
        return chosen;
    }

    // FNV-1a (64 bit, http://www.isthe.com/chongo/tech/comp/fnv/): the string hash of .NET differs between processes
    static ulong Hash(string text)
    {
        ulong hash = 14695981039346656037;
        foreach (char c in text) hash = (hash ^ c) * 1099511628211;
        return hash ^ (hash >> 32);
    }

    /// <summary>
    /// Returns the start of the last share of a text: after the end of a line if there is one nearby, and never inside a character.
    /// </summary>
    public static int CutPoint(string text, double share)
    {
        int cut = (int)(text.Length * (1 - share));
        int line = text.IndexOf('\n', cut, Math.Min(text.Length - cut, 2000));
        if (line >= 0 && line + 1 < text.Length) return line + 1;
        return cut > 0 && cut < text.Length && char.IsLowSurrogate(text[cut]) ? cut - 1 : cut;
    }
}
