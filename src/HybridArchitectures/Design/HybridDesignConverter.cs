using System.Text.Json;
using System.Text.Json.Serialization;

namespace HybridArchitectures.Design;

/// <summary>Reads and writes a design inside other JSON documents, with the same strict rules as <see cref="HybridDesign.FromJson"/>.</summary>
sealed class HybridDesignConverter : JsonConverter<HybridDesign>
{
    public override HybridDesign Read(ref Utf8JsonReader reader, Type type, JsonSerializerOptions options)
    {
        using var document = JsonDocument.ParseValue(ref reader);
        try
        {
            return DesignJson.Read(document.RootElement);
        }
        catch (ArgumentException refusal)
        {
            throw new JsonException(Require.Text(refusal), refusal);
        }
    }

    public override void Write(Utf8JsonWriter writer, HybridDesign value, JsonSerializerOptions options) => DesignJson.Write(writer, value);
}
