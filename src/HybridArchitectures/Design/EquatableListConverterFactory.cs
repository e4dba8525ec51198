using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;

namespace HybridArchitectures.Design;

/// <summary>Writes an <see cref="EquatableList{T}"/> as a JSON array.</summary>
sealed class EquatableListConverterFactory : JsonConverterFactory
{
    public static Type? ElementType(Type type) =>
        type.IsGenericType && type.GetGenericTypeDefinition() == typeof(EquatableList<>) ? type.GetGenericArguments()[0] : null;

    public override bool CanConvert(Type type) => ElementType(type) is not null;

    public override JsonConverter CreateConverter(Type type, JsonSerializerOptions options) =>
        (JsonConverter)Activator.CreateInstance(typeof(Converter<>).MakeGenericType(ElementType(type)!))!;

    sealed class Converter<T> : JsonConverter<EquatableList<T>>
    {
        public override EquatableList<T> Read(ref Utf8JsonReader reader, Type type, JsonSerializerOptions options) =>
            new(JsonSerializer.Deserialize(ref reader, (JsonTypeInfo<T[]>)options.GetTypeInfo(typeof(T[])))
                ?? throw new JsonException("the list is null; expected an array"));

        public override void Write(Utf8JsonWriter writer, EquatableList<T> value, JsonSerializerOptions options)
        {
            writer.WriteStartArray();
            var info = (JsonTypeInfo<T>)options.GetTypeInfo(typeof(T));
            foreach (var item in value) JsonSerializer.Serialize(writer, item, info);
            writer.WriteEndArray();
        }
    }
}
