using System.Reflection;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;

namespace HybridArchitectures.Design;

/// <summary>
/// Converts designs to and from JSON. A document is first checked against the shape of the types (keys, kinds, kinds of values), so that a message
/// can contain the position, the value, and what was expected. Then the objects are created.
/// </summary>
static class DesignJson
{
    public const string Discriminator = "kind";

    static readonly Lock gate = new();
    static readonly Dictionary<string, Type> customMixers = [];
    static volatile JsonSerializerOptions? current;

    static JsonSerializerOptions Options => current ?? Rebuild();

    public static void Register(Type type, string name)
    {
        Require.NotBlank(name);
        lock (gate)
        {
            Require.That(!type.IsAbstract, "type", type.Name, "a type that is not abstract");
            Require.That(BuiltInMixers.All(entry => entry.Type != type), "type", type.Name, "a custom mixer, since this one is known already");
            var taken = BuiltInMixers.FirstOrDefault(entry => entry.Name == name).Type ?? customMixers.GetValueOrDefault(name);
            Require.That(taken is null || taken == type, "name", name, $"an unused name; it belongs to {taken?.Name}");
            string? other = customMixers.FirstOrDefault(entry => entry.Value == type).Key;
            Require.That(other is null || other == name, "name", name, $"\"{other}\", under which {type.Name} is already registered");
            customMixers[name] = type;
            current = null;
        }
    }

    static bool IsRegistered(Type type)
    {
        lock (gate) return customMixers.ContainsValue(type);
    }

    static void RequireRegistered(HybridDesign design)
    {
        foreach (var custom in design.Blocks.Select(block => block.Mixer).OfType<MixerSpec>().Where(mixer => mixer.IsCustom))
            Require.That(IsRegistered(custom.GetType()), "mixer", custom.GetType().Name,
                $"a mixer that is registered with MixerSpec.Register<{custom.GetType().Name}>(name)");
        foreach (var custom in design.Blocks.Select(block => block.Mixer).OfType<MixerSpec>().Where(mixer => mixer.IsCustom).Distinct())
            RequireReadable(custom);
    }

    public static string Write(HybridDesign design) => Text(writer => Write(writer, design));

    /// <summary>
    /// Writes a design that was read from a file, in the same form as <see cref="Write(HybridDesign)"/>, without a change to its keys.
    /// </summary>
    public static string Write(JsonElement design) => Text(design.WriteTo);

    static string Text(Action<Utf8JsonWriter> write)
    {
        using var stream = new MemoryStream();
        using (var writer = new Utf8JsonWriter(
            stream, new() { Indented = true, NewLine = "\n", Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
            write(writer);
        return Encoding.UTF8.GetString(stream.GetBuffer(), 0, (int)stream.Length) + "\n";
    }

    public static void Write(Utf8JsonWriter writer, HybridDesign design)
    {
        RequireRegistered(design);
        JsonSerializer.Serialize(writer, DesignDocument.FromDesign(design),
            (JsonTypeInfo<DesignDocument>)Options.GetTypeInfo(typeof(DesignDocument)));
    }

    // a mixer that would be read back differently is not written
    static void RequireReadable(MixerSpec mixer)
    {
        MixerSpec? again;
        try
        {
            var info = (JsonTypeInfo<MixerSpec>)Options.GetTypeInfo(typeof(MixerSpec));
            again = JsonSerializer.SerializeToElement(mixer, info).Deserialize(info);
        }
        catch (Exception error) when (error is JsonException or NotSupportedException or InvalidOperationException or ArgumentException)
        {
            throw Require.Refusal(nameof(mixer), mixer, $"a mixer that JSON can represent: {Require.Text(error)}", error);
        }
        if (!mixer.Equals(again))
            throw Require.Refusal(nameof(mixer), mixer,
                $"a mixer that is equal when read back from JSON, not {again}. Keep every value in a property with init, and lists in an "
                + $"{nameof(EquatableList)}");
    }

    public static HybridDesign Read(string json)
    {
        ArgumentNullException.ThrowIfNull(json);
        try
        {
            using var document = JsonDocument.Parse(json);
            return Read(document.RootElement);
        }
        catch (JsonException error)
        {
            throw Require.Because(nameof(json), "json cannot be read", error, "a JSON document");
        }
    }

    public static HybridDesign Read(JsonElement root)
    {
        var options = Options;
        HybridDesign design;
        try
        {
            var info = (JsonTypeInfo<DesignDocument>)options.GetTypeInfo(typeof(DesignDocument));
            JsonShape.Check(root, info, "design");
            design = root.Deserialize(info)!.ToDesign();
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException) // the latter for unpaired surrogates, such as "\ud83d"
        {
            throw Require.Because("json", "json cannot be read", error, "a design");
        }
        design.Check();
        return design;
    }

    static readonly (string Name, Type Type)[] BuiltInMixers =
        [.. typeof(MixerSpec).GetCustomAttributes<JsonDerivedTypeAttribute>(inherit: false)
        .Select(kind => ((string)kind.TypeDiscriminator!, kind.DerivedType))];

    static JsonSerializerOptions Rebuild()
    {
        lock (gate)
        {
            var builtIn = DesignJsonContext.Default.WithAddedModifier(InitOnlyDefaults.Keep).WithAddedModifier(info =>
            {
                if (info.Type != typeof(MixerSpec)) return;
                foreach (var (name, type) in customMixers) info.PolymorphismOptions!.DerivedTypes.Add(new(type, name));
            });
            // a custom mixer is a type of the user's program, which is unknown to the source generator
            var resolver = JsonTypeInfoResolver.Combine(builtIn, new DefaultJsonTypeInfoResolver());
            var options = new JsonSerializerOptions
            {
                TypeInfoResolver = resolver,
                PropertyNamingPolicy = JsonNamingPolicy.CamelCase,
                UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
                RespectNullableAnnotations = true,
                RespectRequiredConstructorParameters = true,
                AllowOutOfOrderMetadataProperties = true,
                IgnoreReadOnlyProperties = true,
                Converters = { new JsonStringEnumConverter(JsonNamingPolicy.CamelCase, allowIntegerValues: false),
                new EquatableListConverterFactory() },
            };
            options.MakeReadOnly();
            return current = options;
        }
    }
}
