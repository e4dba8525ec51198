using System.Text;
using System.Text.Json;

namespace HybridArchitectures.Training.Data;

/// <summary>
/// Finds the text of one JSON object. The object is first parsed strictly. If that fails, a second pass tolerates problems outside the text property:
/// NaN and infinity, as Python writes them, nesting of any depth, and damage that leaves quotes and brackets intact.
/// </summary>
static class JsonRecord
{
    /// <summary>Returns the text, or null if the property is null or NaN.</summary>
    /// <param name="json">One object.</param>
    /// <param name="column">The property that contains the text.</param>
    /// <param name="replaced">Incremented by the number of unpaired surrogates that became U+FFFD.</param>
    /// <exception cref="JsonException">
    /// The object is damaged or does not have the property. The message says what was expected, and the position in the line is set.
    /// </exception>
    public static string? Text(ReadOnlySpan<byte> json, string column, ref long replaced)
    {
        try
        {
            if (Strictly(json, column, out var text)) return text;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
        }
        return new LenientJson(json).Text(Encoding.UTF8.GetBytes(column), column, ref replaced);
    }

    /// <summary>Returns whether the bytes are one JSON object whose text property is a string.</summary>
    public static bool IsRecord(ReadOnlySpan<byte> json, string column)
    {
        try
        {
            return Strictly(json, column, out var text) && text is not null;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            return false;
        }
    }

    static bool Strictly(ReadOnlySpan<byte> json, string column, out string? text)
    {
        text = null;
        bool found = false;
        var reader = new Utf8JsonReader(json);
        if (!reader.Read() || reader.TokenType != JsonTokenType.StartObject) return false;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            bool isText = reader.ValueTextEquals(column);
            reader.Read();
            if (isText)
            {
                if (reader.TokenType is not (JsonTokenType.String or JsonTokenType.Null)) return false;
                (text, found) = (reader.GetString(), true);
            }
            else reader.Skip();
        }
        while (reader.Read()) { }       // nothing may follow
        return found;
    }
}
