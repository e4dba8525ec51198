using System.Globalization;
using HybridArchitectures.Training.Running;

namespace HybridArchitectures.Evaluation.Sweeps;

/// <summary>Writes training options as text, which names the folder of a run, and compares such texts of different versions of the library.</summary>
static class TrainingText
{
    const string Separator = ", ", Equal = " = ";

    /// <summary>Returns the options that affect the result as text, in the same form in every culture.</summary>
    public static string Of(TrainingOptions options)
    {
        string text = All(options);
        if (Parts(text) is not { } parts) return text;
        string kept = string.Join(Separator, parts.Where(part => !options.WithoutEffect.Contains(part.Key))
            .Select(part => part.Key + Equal + part.Value));
        return $"{nameof(TrainingOptions)} {{ {kept} }}";
    }

    static string All(TrainingOptions options)
    {
        var culture = CultureInfo.CurrentCulture;
        CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
        try
        {
            return options.ToString();
        }
        finally
        {
            CultureInfo.CurrentCulture = culture;
        }
    }

    /// <summary>
    /// Returns whether a text describes options with the same result: all that it has are equal or have no effect, and those that it lacks have their
    /// defaults, which is how an earlier version behaved.
    /// </summary>
    /// <param name="earlier">The text that was stored. Earlier versions stored all options.</param>
    /// <param name="current">The present options.</param>
    public static bool IsSame(string earlier, TrainingOptions current)
    {
        string text = Of(current);
        if (earlier == text) return true;
        if (Parts(earlier) is not { } stored || Parts(text) is not { } present) return false;
        var defaults = Parts(All(new() { LearningRate = 1, ContextLength = 1, BatchSize = 1, Duration = Duration.Steps(1) }))!;
        return stored.All(part => present.GetValueOrDefault(part.Key) == part.Value || current.WithoutEffect.Contains(part.Key))
            && present.All(part => stored.ContainsKey(part.Key) || defaults.GetValueOrDefault(part.Key) == part.Value);
    }

    // the options by name; null if the text is not that of a record
    static Dictionary<string, string>? Parts(string text)
    {
        int open = text.IndexOf('{'), depth = 0;
        if (open < 0 || !text.EndsWith(" }", StringComparison.Ordinal)) return null;
        string body = text[(open + 1)..^1].Trim();
        var parts = new Dictionary<string, string>(StringComparer.Ordinal);
        string? name = null;
        for (int i = 0, start = 0; i <= body.Length; i++)
        {
            if (i < body.Length) depth += body[i] switch { '{' or '(' or '[' => 1, '}' or ')' or ']' => -1, _ => 0 };
            bool ends = i == body.Length || (depth == 0 && string.CompareOrdinal(body, i, Separator, 0, Separator.Length) == 0);
            if (!ends) continue;
            string part = body[start..i];
            int equal = part.IndexOf(Equal, StringComparison.Ordinal);
            if (equal > 0 && part[..equal].All(char.IsAsciiLetterOrDigit)) parts[name = part[..equal]] = part[(equal + Equal.Length)..];
            else if (name is null) return null;
            else parts[name] += Separator + part;               // a value that contains the separator
            start = i + Separator.Length;
        }
        return parts;
    }
}
