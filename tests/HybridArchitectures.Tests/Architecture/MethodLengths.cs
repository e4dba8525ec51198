using System.Text.RegularExpressions;

namespace HybridArchitectures.Tests.Architecture;

/// <summary>The lengths of the methods of a source file: from a line with a parameter list to the closing brace at the same indentation.</summary>
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

    static int Indent(string line) => line.Length - line.TrimStart().Length;

    // a declaration with parameters, not a statement or a type
    [GeneratedRegex(
        @"^(?!(if|else|for|foreach|while|switch|using|lock|fixed|try|catch|finally|do|unsafe|return|case|get|set|init|new|var)\b)"
        + @"(?!.*\b(class|struct|record|interface|enum|namespace)\b)[\w<>\[\],?.() ]+\(")]
    private static partial Regex Head();
}
