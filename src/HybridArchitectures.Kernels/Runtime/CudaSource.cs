using System.Globalization;
using System.Reflection;
using System.Text.RegularExpressions;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>Represents a kernel source and the headers that it includes, as embedded in this assembly.</summary>
sealed partial record CudaSource(string Name, string Text, IReadOnlyList<(string Name, string Text)> Headers)
{
    /// <summary>Gets every kernel source of this assembly.</summary>
    public static IEnumerable<CudaSource> All =>
        Assembly.GetManifestResourceNames().Where(name => name.EndsWith(".cu", StringComparison.Ordinal)).Order(StringComparer.Ordinal)
            .Select(name => Embedded(name));

    static Assembly Assembly => typeof(CudaSource).Assembly;

    /// <summary>Returns a source of this assembly with its options.</summary>
    public static CudaSource Embedded(KernelVariant variant)
    {
        string text = Read(variant.File);
        var headers = new List<(string, string)>();
        Include(text, headers);
        string definitions = string.Concat(variant.Definitions.Select(one => string.Create(CultureInfo.InvariantCulture,
            $"#define {one.Name} {one.Value}\n")));
        if (definitions.Length > 0) text = definitions + "#line 1\n" + text;
        return new(variant.File, text, headers);
    }

    static void Include(string text, List<(string Name, string Text)> headers)
    {
        foreach (Match match in Includes().Matches(text))
        {
            string name = match.Groups[1].Value;
            if (headers.Any(header => header.Name == name)) continue;
            headers.Add((name, Read(name)));
            Include(headers[^1].Text, headers);
        }
    }

    static string Read(string name)
    {
        using var stream = Assembly.GetManifestResourceStream(name)
            ?? throw new FileNotFoundException($"{name} is not among the kernel sources of this assembly", name);
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd();
    }

    [GeneratedRegex("^#include \"([^\"]+)\"", RegexOptions.Multiline)]
    private static partial Regex Includes();
}
