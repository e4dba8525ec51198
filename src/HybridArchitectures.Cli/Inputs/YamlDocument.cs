using System.Globalization;
using System.Text.Json.Nodes;
using HybridArchitectures.Storage;
using YamlDotNet.Core;
using YamlDotNet.Core.Events;

namespace HybridArchitectures.Cli.Inputs;

/// <summary>
/// Reads a file of YAML as JSON, with the line of every key. Plain scalars are null, true, false or numbers as in JSON, and text otherwise; quoted
/// ones are text. Not supported, and refused: anchors, aliases, tags, keys that are not text, double keys, and several documents.
/// </summary>
sealed class YamlDocument
{
    const int MaxDepth = 32;

    readonly Dictionary<string, long> lines = [];
    readonly string file;

    YamlDocument(string file) => this.file = file;

    /// <summary>Gets the content as JSON.</summary>
    public string Json { get; private set; } = "";

    /// <summary>Reads a file.</summary>
    /// <exception cref="InvalidDataException">The file is no YAML, or has something that is not supported. The message names the line.</exception>
    public static YamlDocument Read(string path)
    {
        var document = new YamlDocument(path);
        using var reader = new StringReader(BoundedFile.ReadText(path, BoundedFile.MaxConfigBytes));
        var parser = new Parser(reader);
        try
        {
            parser.Consume<StreamStart>();
            if (parser.TryConsume<StreamEnd>(out _)) throw document.Refuse(1, "", "the file is empty; expected keys and values");
            parser.Consume<DocumentStart>();
            document.Json = document.Node(parser, "$", 0)?.ToJsonString() ?? "null";
            parser.Consume<DocumentEnd>();
            if (parser.Current is not null && !parser.TryConsume<StreamEnd>(out _))
                throw document.Refuse(parser.Current.Start.Line, "", "a second document; expected one");
        }
        catch (YamlException e)
        {
            throw new InvalidDataException($"{path}: line {e.Start.Line}: {e.Message}", e);
        }
        // for some texts, the scanner of YamlDotNet throws this and no YamlException
        catch (InvalidOperationException e)
        {
            throw new InvalidDataException($"{path}: line {parser.Current?.End.Line ?? 1}: a value or key that cannot be read; expected YAML", e);
        }
        return document;
    }

    /// <summary>Returns the line of a key by its path in JSON, such as <c>$.designs[0].name</c>, or of the nearest key around it.</summary>
    public long? LineOf(string? path)
    {
        for (string at = path ?? "$"; at.Length > 0;)
        {
            if (lines.TryGetValue(at, out long line)) return line;
            int cut = at.LastIndexOfAny(['.', '[']);
            at = cut < 0 ? "" : at[..cut];
        }
        return null;
    }

    JsonNode? Node(Parser parser, string path, int depth)
    {
        var start = parser.Current!;
        lines.TryAdd(path, start.Start.Line);
        if (depth > MaxDepth) throw Refuse(start.Start.Line, path, $"nested more than {MaxDepth} levels; expected fewer");
        if (start is AnchorAlias) throw Refuse(start.Start.Line, path, "an alias, which is not supported; expected a value");
        if (start is NodeEvent { Anchor.IsEmpty: false }) throw Refuse(start.Start.Line, path, "an anchor, which is not supported; expected a value");
        if (start is NodeEvent { Tag.IsEmpty: false }) throw Refuse(start.Start.Line, path, "a tag, which is not supported; expected a value");
        if (parser.TryConsume<Scalar>(out var scalar)) return Value(scalar);
        return start is SequenceStart ? List(parser, path, depth) : Map(parser, path, depth);
    }

    JsonArray List(Parser parser, string path, int depth)
    {
        var list = new JsonArray();
        parser.Consume<SequenceStart>();
        while (!parser.TryConsume<SequenceEnd>(out _)) list.Add(Node(parser, FormattableString.Invariant($"{path}[{list.Count}]"), depth + 1));
        return list;
    }

    JsonObject Map(Parser parser, string path, int depth)
    {
        var map = new JsonObject();
        parser.Consume<MappingStart>();
        while (!parser.TryConsume<MappingEnd>(out _))
        {
            if (!parser.TryConsume<Scalar>(out var key)) throw Refuse(parser.Current!.Start.Line, path, "a key that is no text; expected text");
            string inner = $"{path}.{key.Value}";
            if (map.ContainsKey(key.Value)) throw Refuse(key.Start.Line, inner, "the key is there twice; expected it once");
            lines[inner] = key.Start.Line;
            map.Add(key.Value, Node(parser, inner, depth + 1));
        }
        return map;
    }

    static JsonNode? Value(Scalar scalar)
    {
        string text = scalar.Value;
        if (scalar.Style is not ScalarStyle.Plain) return text;
        if (text is "" or "~" or "null") return null;
        if (text is "true" or "false") return text == "true";
        if (long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long whole)) return whole;
        return double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double number) && double.IsFinite(number)
            && text.Any(char.IsAsciiDigit) ? number : text;
    }

    InvalidDataException Refuse(long line, string path, string reason)
    {
        string key = path.TrimStart('$', '.');
        return new($"{file}: line {line}{(key.Length > 0 ? $", key '{key}'" : "")}: {reason}.");
    }
}
