using System.Text.Json;
using HybridArchitectures.Storage;

namespace HybridArchitectures.Tokenization;

/// <summary>Represents a value in a JSON file together with its position, which appears in messages.</summary>
readonly struct JsonPart(string file, string place, JsonElement value)
{
    /// <summary>Gets the position of the value, for example <c>model.vocab</c>.</summary>
    public string Place => place;

    public bool IsNull => value.ValueKind == JsonValueKind.Null;

    public bool IsObject => value.ValueKind == JsonValueKind.Object;

    public bool IsArray => value.ValueKind == JsonValueKind.Array;

    /// <summary>Parses a file. An object must not contain a name twice.</summary>
    /// <param name="file">The path of the file.</param>
    /// <param name="maxBytes">The maximum size of the file in bytes.</param>
    /// <exception cref="InvalidDataException">The file is not JSON, is not a regular file, is empty, or is too large.</exception>
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

    /// <summary>Returns a property, or null if it is absent or null.</summary>
    public JsonPart? Optional(string name)
    {
        Require(JsonValueKind.Object, "an object");
        try
        {
            return value.TryGetProperty(name, out var found) && found.ValueKind != JsonValueKind.Null ? Inner(name, found) : null;
        }
        catch (InvalidOperationException)
        {
            throw Bad("a name is not Unicode (invalid UTF-8, or an unpaired surrogate)");
        }
    }

    public JsonPart Required(string name) => Optional(name) ?? throw Bad($"\"{name}\" is missing");

    /// <summary>Returns the properties of the object in the order of the file.</summary>
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
            throw Bad("a name is not Unicode (invalid UTF-8, or an unpaired surrogate)");
        }
    }

    /// <summary>Returns the elements of the array.</summary>
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
            throw Bad("the text is not Unicode (invalid UTF-8, or an unpaired surrogate)");
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

    /// <summary>Refuses a text other than the expected one.</summary>
    public void RequireText(string expected, string reason)
    {
        if (Text() != expected) throw Bad($"\"{Text()}\" is not supported, only \"{expected}\": {reason}");
    }

    /// <summary>Refuses unknown names, because ignoring one could change the tokens.</summary>
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
