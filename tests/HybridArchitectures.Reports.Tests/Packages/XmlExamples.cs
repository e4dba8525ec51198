using System.IO.Compression;
using System.Text.RegularExpressions;
using System.Xml.Linq;

namespace HybridArchitectures.Reports.Tests.Packages;

/// <summary>Contains the <c>example</c> elements of a package's XML docs, and the namespaces of its types.</summary>
sealed partial record XmlExamples(IReadOnlyDictionary<string, string> Examples, IReadOnlySet<string> Namespaces)
{
    public static XmlExamples Read(string package, string name)
    {
        using var archive = ZipFile.OpenRead(package);
        using var stream = archive.GetEntry($"lib/net10.0/{name}.xml")!.Open();
        var members = XDocument.Load(stream).Descendants("member").ToDictionary(member => (string)member.Attribute("name")!);
        var examples = new Dictionary<string, string>();
        var seen = new HashSet<string>();
        foreach (var (member, element) in members)
            foreach (var code in element.Elements("example").Elements("code"))
                if (Outdent(code.Value) is var text && seen.Add(text)) examples[Free(member.Split('(')[0])] = text;
        var spaces = members.Keys.Where(member => member.StartsWith("T:", StringComparison.Ordinal))
            .Select(member => LastName().Replace(member[2..], ""));
        return new(examples, spaces.Where(IsNamespace).ToHashSet());

        // the constructor of a record repeats the docs of its type; overloads share a name
        string Free(string member) => examples.ContainsKey(member) ? Free(member + "x") : member;

        // a nested type's name without its last part is a type
        bool IsNamespace(string space) => !members.ContainsKey($"T:{space}");
    }

    // lines of XML docs are indented; directives and type declarations are looked for at the start of a line
    static string Outdent(string code)
    {
        var lines = code.Trim('\n', '\r').TrimEnd().ReplaceLineEndings("\n").Split('\n');
        int indent = lines.Where(line => line.Trim().Length > 0).Min(line => line.Length - line.TrimStart().Length);
        return string.Concat(lines.Select(line => (line.Length < indent ? "" : line[indent..]) + "\n"));
    }

    [GeneratedRegex(@"\.[^.]+$")]
    private static partial Regex LastName();
}
