using System.Text;
using System.Xml;

namespace HybridArchitectures.Training.Data;

/// <summary>
/// Extracts the prose of one XML documentation file: one line for each summary, parameter, exception and so on, without tags, and with short names of
/// references.
/// </summary>
static class DocumentationText
{
    // these elements begin a new line; other tags (c, see, sup, b) are inside a sentence
    static readonly HashSet<string> Blocks =
        ["para", "p", "br", "list", "listheader", "item", "term", "description", "ul", "ol", "li", "note", "block", "table", "tr", "td", "h2", "h3"];

    static readonly XmlReaderSettings Settings = new()
    {
        DtdProcessing = DtdProcessing.Prohibit, XmlResolver = null, IgnoreComments = true, IgnoreProcessingInstructions = true,
    };

    /// <summary>Returns the lines of a file.</summary>
    /// <exception cref="XmlException">The file is not XML.</exception>
    public static List<string> Lines(string file)
    {
        using var stream = new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.Read, 1 << 16);
        using var reader = XmlReader.Create(stream, Settings);
        var lines = new List<string>();
        var line = new StringBuilder();
        while (reader.Read())
        {
            if (reader.NodeType != XmlNodeType.Element || reader.Name != "member" || reader.IsEmptyElement) continue;
            int member = reader.Depth;
            while (reader.Read() && reader.Depth > member) Take(reader, member, line, lines);
            End(line, lines);
        }
        return lines;
    }

    static void Take(XmlReader reader, int member, StringBuilder line, List<string> lines)
    {
        switch (reader.NodeType)
        {
            case XmlNodeType.Text or XmlNodeType.CDATA or XmlNodeType.SignificantWhitespace or XmlNodeType.Whitespace:
                line.Append(reader.Value);
                break;
            case XmlNodeType.EndElement when reader.Depth == member + 1 || Blocks.Contains(reader.Name):
                End(line, lines);
                break;
            case XmlNodeType.Element:
                TakeElement(reader, member, line, lines);
                break;
        }
    }

    static void TakeElement(XmlReader reader, int member, StringBuilder line, List<string> lines)
    {
        switch (reader.Name)
        {
            case "code" or "math":      // not prose; skipped with its content
                if (!reader.IsEmptyElement)
                {
                    int depth = reader.Depth;
                    while (reader.Read() && reader.Depth > depth) { }
                }
                End(line, lines);
                break;
            case "see" or "seealso" or "xref" when reader.IsEmptyElement:
                line.Append(ShortName(reader.GetAttribute("cref")) ?? reader.GetAttribute("langword") ?? ShortName(reader.GetAttribute("uid")) ?? "");
                break;
            case "paramref" or "typeparamref":
                line.Append(reader.GetAttribute("name"));
                break;
            case var name when reader.Depth == member + 1 || Blocks.Contains(name):
                End(line, lines);
                break;
        }
    }

    static void End(StringBuilder line, List<string> lines)
    {
        int length = 0;
        bool blank = true;      // removes leading spaces too
        for (int i = 0; i < line.Length; i++)
        {
            char c = line[i];
            bool isBlank = char.IsWhiteSpace(c) || c is '\u200b' or '\ufeff';
            if (!isBlank) line[length++] = c;
            else if (!blank) line[length++] = ' ';
            blank = isBlank;
        }
        if (blank && length > 0) length--;
        // a line without the end of a sentence is usually a signature or the name of an instruction
        if (length > 0 && line[length - 1] is '.' or '!' or '?' or ':') lines.Add(line.ToString(0, length));
        line.Clear();
    }

    /// <summary>
    /// Returns the short name of a documentation identifier: <c>M:System.Math.Max(System.Int32,System.Int32)</c> becomes <c>Max</c>.
    /// </summary>
    public static string? ShortName(string? reference)
    {
        if (string.IsNullOrEmpty(reference)) return null;
        var name = reference.AsSpan();
        char kind = name.Length > 2 && name[1] == ':' ? name[0] : ' ';
        if (kind != ' ') name = name[2..];
        int end = name.IndexOfAny("({~");
        if (end >= 0) name = name[..end];
        if (kind == 'N') return name.ToString();
        if (name.EndsWith(".#ctor") || name.EndsWith(".#cctor")) name = name[..name.LastIndexOf('.')];
        name = name[(name.LastIndexOfAny(".#") + 1)..];
        int arity = name.IndexOf('`');
        return (arity > 0 ? name[..arity] : name).ToString();
    }
}
