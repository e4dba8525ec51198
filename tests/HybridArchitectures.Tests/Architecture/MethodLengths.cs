using System.Text.RegularExpressions;

namespace HybridArchitectures.Tests.Architecture;

/// <summary>Measures the methods of a source file, from a line with a parameter list to the closing brace with the same indentation.</summary>
static partial class MethodLengths
{
    public static IEnumerable<(string Place, int Lines)> Of(string path)
    {
        string[] lines = File.ReadAllLines(path);
        for (int i = 0; i + 1 < lines.Length; i++)
        {
            if (lines[i].Trim() != "{" || i == 0) continue;
            int indent = lines[i].IndexOf('{'), first = i - 1;
            while (first > 0 && Indent(lines[first]) > indent) first--;
            if (Indent(lines[first]) != indent || !Head().IsMatch(lines[first].TrimStart())) continue;
            int last = i + 1;
            while (last < lines.Length && !(Indent(lines[last]) == indent && lines[last].TrimStart().StartsWith('}'))) last++;
            yield return ($"{Path.GetRelativePath(Repository.Root, path)}:{first + 1}", last - first + 1);
        }
    }

    /// <summary>
    /// Returns the lengths of the functions of a CUDA source file, without macros: from the line with <c>__device__</c> or <c>__global__</c> to the
    /// closing brace.
    /// </summary>
    public static IEnumerable<(string Place, int Lines)> OfDevice(string path)
    {
        string[] lines = [.. File.ReadLines(path).Select(line => line.Split("//")[0])];
        for (int i = 0; i < lines.Length; i++)
        {
            if (lines[i].TrimStart().StartsWith('#') || !DeviceHead().IsMatch(lines[i])) continue;
            int open = i, depth = 0;
            while (open < lines.Length - 1 && !lines[open].Contains('{') && !lines[open].Contains(';')) open++;
            if (!lines[open].Contains('{')) continue;
            int last = open;
            while (last < lines.Length && (depth += Depth(lines[last])) > 0) last++;
            string head = string.Join(' ', lines[i..(open + 1)]);
            string name = Arguments().Replace(head[DeviceHead().Match(head).Index..].Split('(')[0], "").Split(' ')[^1];
            yield return ($"{Path.GetFileName(path)}: {name}", last - i + 1);
        }
    }

    static int Depth(string line) => line.Count(symbol => symbol == '{') - line.Count(symbol => symbol == '}');

    static int Indent(string line) => line.Length - line.TrimStart().Length;

    // a declaration with parameters, not a statement or a type
    [GeneratedRegex(
        @"^(?!(if|else|for|foreach|while|switch|using|lock|fixed|try|catch|finally|do|unsafe|return|case|get|set|init|new|var)\b)"
        + @"(?!.*\b(class|struct|record|interface|enum|namespace)\b)[\w<>\[\],?.() ]+\(")]
    private static partial Regex Head();

    [GeneratedRegex(@"\b__(device|global)__\b")]
    private static partial Regex DeviceHead();

    [GeneratedRegex("<[^>]*>")]
    private static partial Regex Arguments();
}
