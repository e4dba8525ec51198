using System.Text;

namespace HybridArchitectures.Generation;

/// <summary>
/// Passes text up to the first stop string, and delays text that could become one. The stop string that counts does not depend on how the text is
/// divided: it is the one that is complete first, and of several that end together the longest.
/// </summary>
sealed class StopFilter(IReadOnlyList<string> stops)
{
    readonly StringBuilder held = new();

    /// <summary>Gets whether a stop string has occurred; no text passes after it.</summary>
    public bool IsStopped { get; private set; }

    /// <summary>Returns the text that passes now.</summary>
    public string Add(string text)
    {
        if (IsStopped) return "";
        foreach (char character in text)
        {
            held.Append(character);
            int maxLength = stops.Where(stop => EndsWith(stop, stop.Length)).Select(stop => stop.Length).DefaultIfEmpty(0).Max();
            if (maxLength == 0) continue;
            IsStopped = true;
            held.Length -= maxLength;
            return Release(held.Length);
        }
        int keep = stops.Select(MaxPrefixLength).DefaultIfEmpty(0).Max();
        return Release(held.Length - keep);
    }

    /// <summary>Returns the delayed text, because there is no more text.</summary>
    public string End() => IsStopped ? "" : Release(held.Length);

    int MaxPrefixLength(string stop)
    {
        int length = Math.Min(stop.Length - 1, held.Length);
        while (length > 0 && !EndsWith(stop, length)) length--;
        return length;
    }

    // whether the delayed text ends with the first characters of a stop string
    bool EndsWith(string stop, int length)
    {
        if (held.Length < length) return false;
        for (int i = 0; i < length; i++)
            if (held[held.Length - length + i] != stop[i]) return false;
        return true;
    }

    string Release(int length)
    {
        string text = held.ToString(0, length);
        held.Remove(0, length);
        return text;
    }
}
