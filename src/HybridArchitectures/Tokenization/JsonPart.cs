using System.Text.Json;
using HybridArchitectures.Checkpoints;

namespace HybridArchitectures.Tokenization;

/// <summary>A value inside a JSON file, with its place, for messages that name it.</summary>
readonly struct JsonPart(string file, string place, JsonElement value)
{
    /// <summary>The value's place, as in <c>model.vocab</c>.</summary>
    public string Place => place;

    public bool IsNull => value.ValueKind == JsonValueKind.Null;

    public bool IsObject => value.ValueKind == JsonValueKind.Object;

    public bool IsArray => value.ValueKind == JsonValueKind.Array;

    /// <summary>Parses a file, which may not hold a name twice in one object.</summary>
    /// <param name="file">The file.</param>
    /// <param name="maxBytes">The largest file that is read.</param>
    /// <exception cref="InvalidDataException">The file is not JSON, no regular file, empty or too large.</exception>
    public static JsonDocument Parse(string file, long maxBytes = BoundedFile.MaxTokenizerBytes)
    {
        byte[] content = BoundedFile.Read(file, maxBytes);
        ReadOnlyMemory<byte> json = content;
        if (json.Span.StartsWith("\uFEFF"u8)) json = json[3..];
        try
        {
            return JsonDocument.Parse(json, new JsonDocumentOptions { AllowDuplicateProperties = false });
        }
        catch (JsonException error)
        {
            string line = error.LineNumber is { } number ? $", line {number + 1}" : "";
            throw new InvalidDataException($"{file}{line}: not well-formed JSON: {error.Message}", error);
        }
        catch (InvalidOperationException error)
        {
            throw new InvalidDataException($"{file}: a name or text is not Unicode: {error.Message}", error);
        }
    }

    public InvalidDataException Bad(string why) => new($"{file}, {(place.Length > 0 ? place : "top level")}: {why}");

    /// <summary>A property, or null if it is absent or null.</summary>
    public JsonPart? Optional(string name)
    {
        Require(JsonValueKind.Object, "an object");
        try
        {
            return value.TryGetProperty(name, out var found) && found.ValueKind != JsonValueKind.Null ? Inner(name, found) : null;
        }
        catch (InvalidOperationException)
        {
            throw Bad("a name is not Unicode (ill-formed UTF-8, or half of a surrogate pair)");
        }
    }

    public JsonPart Required(string name) => Optional(name) ?? throw Bad($"\"{name}\" is missing");

    /// <summary>The object's properties in the file's order.</summary>
    public IEnumerable<(string Name, JsonPart Value)> Properties()
    {
        Require(JsonValueKind.Object, "an object");
        var (own, inner) = (this, value);
        return inner.EnumerateObject().Select(property =>
        {
            string name = own.Name(property);
            return (name, own.Inner(name, property.Value));
        });
    }

    string Name(JsonProperty property)
    {
        try
        {
            return property.Name;
        }
        catch (InvalidOperationException)
        {
            throw Bad("a name is not Unicode (ill-formed UTF-8, or half of a surrogate pair)");
        }
    }

    /// <summary>The array's elements.</summary>
    public IEnumerable<JsonPart> Elements()
    {
        Require(JsonValueKind.Array, "an array");
        var (inFile, at, inner) = (file, place, value);
        return inner.EnumerateArray().Select((element, index) => new JsonPart(inFile, $"{at}[{index}]", element));
    }

    public string Text()
    {
        Require(JsonValueKind.String, "a text");
        try
        {
            return value.GetString()!;
        }
        catch (InvalidOperationException)
        {
            throw Bad("the text is not Unicode (ill-formed UTF-8, or half of a surrogate pair)");
        }
    }

    public bool Flag()
    {
        if (value.ValueKind is not (JsonValueKind.True or JsonValueKind.False)) throw Bad($"found {value.ValueKind}; expected true or false");
        return value.GetBoolean();
    }

    public int Integer()
    {
        Require(JsonValueKind.Number, "a whole number");
        return value.TryGetInt32(out int number) ? number : throw Bad($"found {value.GetRawText()}; expected a whole number of 32 bits");
    }

    public int Id()
    {
        Require(JsonValueKind.Number, "a token id");
        return value.TryGetInt32(out int id) && id is >= 0 and < RankFile.MaxTokens ? id
            : throw Bad($"the token id is {value.GetRawText()}; expected a whole number from 0 to {RankFile.MaxTokens - 1}");
    }

    /// <summary>Refuses a text other than the one that is understood.</summary>
    public void RequireText(string expected, string reason)
    {
        if (Text() != expected) throw Bad($"\"{Text()}\" is not supported, only \"{expected}\": {reason}");
    }

    /// <summary>Refuses names that are not understood: to skip one could change the tokens.</summary>
    public void RequireOnly(params ReadOnlySpan<string> names)
    {
        foreach (var (name, _) in Properties())
            if (!names.Contains(name)) throw Bad($"\"{name}\" is not understood");
    }

    void Require(JsonValueKind kind, string expected)
    {
        if (value.ValueKind != kind) throw Bad($"found {value.ValueKind}; expected {expected}");
    }

    JsonPart Inner(string name, JsonElement inner) => new(file, place.Length > 0 ? $"{place}.{name}" : name, inner);
}
