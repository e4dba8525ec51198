using System.Globalization;
using System.Text;

namespace HybridArchitectures.Tokenization;

/// <summary>
/// Converts text to Unicode normalization form NFC (Unicode Standard Annex 15) with a built-in table. .NET uses the normalization of the system, and
/// in a program with <c>InvariantGlobalization</c> it returns every text unchanged.
/// </summary>
static class ComposedText
{
    const int HangulFirst = 0xAC00, LeadFirst = 0x1100, VowelFirst = 0x1161, TailFirst = 0x11A7, Leads = 19, Vowels = 21, Tails = 28,
        Syllables = Leads * Vowels * Tails;
    const int FirstThatChanges = 0x300;

    static readonly Dictionary<int, int[]> decompositions = [];
    static readonly Dictionary<(int First, int Second), int> compositions = [];
    static readonly Dictionary<int, byte> classes = [];

    static ComposedText()
    {
        using var stream = typeof(ComposedText).Assembly.GetManifestResourceStream("composition.txt")!;
        using var reader = new StreamReader(stream);
        while (reader.ReadLine() is { } line)
        {
            string[] words = line.Split(' ');
            int Code(int word) => int.Parse(words[word], NumberStyles.HexNumber, CultureInfo.InvariantCulture);
            switch (words[0])
            {
                case "C" or "D":
                    int[] parts = [.. Enumerable.Range(2, words.Length - 2).Select(Code)];
                    decompositions.Add(Code(1), parts);
                    if (words[0] == "C") compositions.Add((parts[0], parts[1]), Code(1));
                    break;
                case "R":
                    for (int code = Code(2); code <= Code(3); code++) classes.Add(code, byte.Parse(words[1], CultureInfo.InvariantCulture));
                    break;
            }
        }
    }

    /// <summary>Returns the well-formed text in form NFC.</summary>
    public static string From(string text) => WithOrigins(text).Text;

    /// <summary>
    /// Returns the well-formed text in form NFC and, for each of its characters, the index of the original character that it replaces. The indexes
    /// are null if the text is already in form NFC.
    /// </summary>
    /// <remarks>
    /// The indexes are those of the tokenizers library, and they ascend. An added character gets the index before it. A character that was composed
    /// from several gets the index of the first one, and the other indexes are skipped, even if marks were reordered.
    /// </remarks>
    public static (string Text, int[]? Origins) WithOrigins(string text)
    {
        if (text.AsSpan().IndexOfAnyExceptInRange('\0', (char)(FirstThatChanges - 1)) < 0) return (text, null);
        var codes = new List<(int Code, int Change)>(text.Length);
        foreach (var rune in text.EnumerateRunes()) Decompose(rune.Value, change: 0, codes);
        Order(codes);
        Compose(codes);
        var result = new StringBuilder(text.Length);
        foreach (var (code, _) in codes) result.Append(new Rune(code).ToString());
        string composed = result.ToString();
        return composed == text ? (text, null) : (composed, Origins(codes));
    }

    static int[] Origins(List<(int Code, int Change)> codes)
    {
        var origins = new int[codes.Count];
        int next = 0;
        for (int i = 0; i < origins.Length; i++)
        {
            int change = codes[i].Change;
            origins[i] = change > 0 ? Math.Max(next - 1, 0) : next;
            if (change <= 0) next += 1 - change;
        }
        return origins;
    }

    // the change is 0 for a character that replaces another, and 1 for an added character
    static void Decompose(int code, int change, List<(int Code, int Change)> codes)
    {
        if (code is >= HangulFirst and < HangulFirst + Syllables)
        {
            int syllable = code - HangulFirst, tail = syllable % Tails;
            codes.Add((LeadFirst + syllable / (Vowels * Tails), change));
            codes.Add((VowelFirst + syllable % (Vowels * Tails) / Tails, 1));
            if (tail > 0) codes.Add((TailFirst + tail, 1));
        }
        else if (decompositions.TryGetValue(code, out int[]? parts))
            for (int i = 0; i < parts.Length; i++) Decompose(parts[i], i == 0 ? change : 1, codes);
        else codes.Add((code, change));
    }

    static int Class(int code) => code < FirstThatChanges ? 0 : classes.GetValueOrDefault(code);

    // sorts the marks between two other characters by class; the order within a class is preserved
    static void Order(List<(int Code, int Change)> codes)
    {
        for (int start = 0; start < codes.Count; start++)
        {
            int end = start;
            while (end < codes.Count && Class(codes[end].Code) > 0) end++;
            if (end - start > 1)
            {
                (int Code, int Change)[] sorted = [.. codes.GetRange(start, end - start).OrderBy(item => Class(item.Code))];
                for (int i = 0; i < sorted.Length; i++) codes[start + i] = sorted[i];
            }
            start = end;
        }
    }

    // joins each character with the last one that is not a mark, unless a mark of the same or a higher class is between them
    static void Compose(List<(int Code, int Change)> codes)
    {
        int starter = -1, kept = 0, last = 0;
        for (int i = 0; i < codes.Count; i++)
        {
            int code = codes[i].Code, own = Class(code);
            bool adjacent = starter == kept - 1;
            if (starter >= 0 && (adjacent || (last != 0 && last < own)) && Joined(codes[starter].Code, code) is { } joined)
            {
                codes[starter] = (joined, codes[starter].Change + codes[i].Change - 1);
                continue;
            }
            if (own == 0) starter = kept;
            last = own;
            codes[kept++] = codes[i];
        }
        codes.RemoveRange(kept, codes.Count - kept);
    }

    static int? Joined(int first, int second)
    {
        if (first is >= LeadFirst and < LeadFirst + Leads && second is >= VowelFirst and < VowelFirst + Vowels)
            return HangulFirst + ((first - LeadFirst) * Vowels + second - VowelFirst) * Tails;
        if (first is >= HangulFirst and < HangulFirst + Syllables && (first - HangulFirst) % Tails == 0
            && second is > TailFirst and < TailFirst + Tails) return first + second - TailFirst;
        return compositions.TryGetValue((first, second), out int whole) ? whole : null;
    }
}
