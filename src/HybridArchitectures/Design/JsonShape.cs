using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

namespace HybridArchitectures.Design;

/// <summary>
/// Checks a JSON document against the types into which it will be converted. The first invalid key or value is refused with its position and what was
/// expected.
/// </summary>
static class JsonShape
{
    const int ShownValue = 60;

    public static void Check(JsonElement element, JsonTypeInfo type, string path)
    {
        if (EquatableListConverterFactory.ElementType(type.Type) is { } itemType)
        {
            Expect(element.ValueKind == JsonValueKind.Array, element, path, "a list");
            int index = 0;
            foreach (var item in element.EnumerateArray()) CheckValue(item, itemType, nullable: false, type.Options, $"{path}[{index++}]");
            return;
        }
        Expect(element.ValueKind == JsonValueKind.Object, element, path, "an object");
        if (type.PolymorphismOptions is { } kinds)
        {
            string names = string.Join(", ", kinds.DerivedTypes.Select(derived => $"\"{derived.TypeDiscriminator}\""));
            string key = kinds.TypeDiscriminatorPropertyName;
            if (!element.TryGetProperty(key, out var kind)) throw Refusal(path, Shown(element), $"a key \"{key}\" that is one of {names}");
            var found = kinds.DerivedTypes.FirstOrDefault(
                derived => kind.ValueKind == JsonValueKind.String && kind.ValueEquals((string)derived.TypeDiscriminator!));
            Expect(found.DerivedType is not null, kind, $"{path}.{key}", $"one of {names}");
            CheckMembers(element, type.Options.GetTypeInfo(found.DerivedType!), path, key);
        }
        else
            CheckMembers(element, type, path, null);
    }

    static void CheckMembers(JsonElement element, JsonTypeInfo type, string path, string? discriminator)
    {
        var members = type.Properties.Where(property => property.Set is not null || property.AssociatedParameter is not null)
            .ToDictionary(property => property.Name);
        var seen = new HashSet<string>();
        foreach (var property in element.EnumerateObject())
        {
            if (!seen.Add(property.Name)) throw Refusal($"{path}.{property.Name}", $"{Shown(property.Value)} a second time", "each key once");
            if (property.Name == discriminator) continue;
            if (!members.TryGetValue(property.Name, out var member))
                throw Refusal(
                    $"{path}.{property.Name}", Shown(property.Value),
                    $"only the keys {string.Join(", ", members.Keys.Order(StringComparer.Ordinal))}");
            CheckValue(property.Value, member.PropertyType, member.IsSetNullable, type.Options, $"{path}.{property.Name}");
        }
        foreach (var member in members.Values)
        {
            bool required = member.IsRequired || member.AssociatedParameter is { HasDefaultValue: false };
            if (required && !element.TryGetProperty(member.Name, out _))
                throw Refusal($"{path}.{member.Name}", "missing", Expected(member.PropertyType));
        }
    }

    static void CheckValue(JsonElement value, Type type, bool nullable, JsonSerializerOptions options, string path)
    {
        var underlying = Nullable.GetUnderlyingType(type);
        if (value.ValueKind == JsonValueKind.Null && (underlying is not null || (nullable && !type.IsValueType))) return;
        type = underlying ?? type;
        bool fits =
            type == typeof(int) ? value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out _)
            : type == typeof(long) ? value.ValueKind == JsonValueKind.Number && value.TryGetInt64(out _)
            : type == typeof(double) ? value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out double number) && double.IsFinite(number)
            : type == typeof(bool) ? value.ValueKind is JsonValueKind.True or JsonValueKind.False
            : type == typeof(string) ? value.ValueKind == JsonValueKind.String
            : !type.IsEnum || (value.ValueKind == JsonValueKind.String && EnumNames(type).Contains(value.GetString()!));
        Expect(fits, value, path, Expected(type));
        var info = type.IsPrimitive || type.IsEnum || type == typeof(string) ? null : options.GetTypeInfo(type);
        if (info is not null && (info.Kind == JsonTypeInfoKind.Object || EquatableListConverterFactory.ElementType(type) is not null))
            Check(value, info, path);
    }

    static IEnumerable<string> EnumNames(Type type) => Enum.GetNames(type).Select(JsonNamingPolicy.CamelCase.ConvertName);

    static string Expected(Type type)
    {
        type = Nullable.GetUnderlyingType(type) ?? type;
        return type == typeof(int) || type == typeof(long) ? "an integer"
            : type == typeof(double) ? "a finite number"
            : type == typeof(bool) ? "true or false"
            : type == typeof(string) ? "a text"
            : type.IsEnum ? $"one of {string.Join(", ", EnumNames(type).Select(name => $"\"{name}\""))}"
            : EquatableListConverterFactory.ElementType(type) is not null ? "a list" : "an object";
    }

    static void Expect(bool holds, JsonElement was, string path, string expected)
    {
        if (!holds) throw Refusal(path, Shown(was), expected);
    }

    static string Shown(JsonElement value)
    {
        string text = value.GetRawText().ReplaceLineEndings(" ");
        return text.Length <= ShownValue ? text : text[..ShownValue] + "...";
    }

    static ArgumentException Refusal(string path, string was, string expected) => new($"{path} is {was}; expected {expected}", "json");
}
