using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using HybridArchitectures.Design;
using HybridArchitectures.Storage;

namespace HybridArchitectures.Checkpoints;

/// <summary>
/// Represents the <c>config.json</c> of a Hugging Face folder, with old and new names of settings (<c>rope_theta</c> or <c>rope_parameters</c>). A
/// key with the value null counts as absent. Every exception names the file, the key, its value, and what was expected.
/// </summary>
public sealed partial class PretrainedConfig
{
    const int MaxDepth = HybridDesign.MaxDepth;

    readonly string path;
    readonly JsonElement root;
    readonly PretrainedLoadOptions options;
    readonly HashSet<string>? asked;        // the keys that a family has read; null if they are not recorded

    PretrainedConfig(string path, JsonElement root, PretrainedLoadOptions? options = null, HashSet<string>? asked = null) =>
        (this.path, this.root, this.options, this.asked) = (path, root, options ?? new(), asked);

    /// <summary>Returns the same configuration for one reading, which records the keys that are read.</summary>
    internal PretrainedConfig For(PretrainedLoadOptions? options) => new(path, root, options, new(StringComparer.Ordinal));

    /// <summary>Gets whether settings have the same meaning as in transformers, including its faults.</summary>
    internal bool FollowsTransformers => options.Semantics == PretrainedSemantics.Transformers;

    /// <summary>Reads a file.</summary>
    /// <param name="path">The path of the file.</param>
    /// <exception cref="FileNotFoundException">The file does not exist.</exception>
    /// <exception cref="InvalidDataException">The path is not a regular file, has more than 16 MiB, or does not contain a JSON object.</exception>
    public static PretrainedConfig Read(string path)
    {
        Require.NotEmpty(path);
        return Parse(BoundedFile.ReadText(path, BoundedFile.MaxConfigBytes), path);
    }

    /// <summary>Parses a text. <paramref name="path"/> is its name in messages.</summary>
    internal static PretrainedConfig Parse(string json, string path)
    {
        try
        {
            using var document = JsonDocument.Parse(WithoutBareNumbers(json));
            if (document.RootElement.ValueKind != JsonValueKind.Object)
                throw new InvalidDataException($"{path}: {document.RootElement.ValueKind}; expected a JSON object");
            RequireText(document.RootElement);
            return new(path, document.RootElement.Clone());
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException)
        {
            throw new InvalidDataException($"{path}: not JSON ({error.Message})", error);
        }
    }

    // the parser checks escapes such as an unpaired surrogate only when a text is read
    internal static void RequireText(JsonElement element)
    {
        if (element.ValueKind == JsonValueKind.String) _ = element.GetString();
        else if (element.ValueKind == JsonValueKind.Array)
            foreach (var item in element.EnumerateArray()) RequireText(item);
        else if (element.ValueKind == JsonValueKind.Object)
            foreach (var item in element.EnumerateObject())
            {
                _ = item.Name;
                RequireText(item.Value);
            }
    }

    // Python writes infinities as bare words
    static string WithoutBareNumbers(string json)
    {
        if (!json.Contains("Infinity", StringComparison.Ordinal) && !json.Contains("NaN", StringComparison.Ordinal)) return json;
        var result = new StringBuilder(json.Length);
        bool quoted = false;
        for (int i = 0; i < json.Length; i++)
        {
            char c = json[i];
            if (c == '"') quoted = !quoted;
            else if (quoted && c == '\\' && i + 1 < json.Length) result.Append(json[i++]);
            else if (!quoted && Bare(json, i) is { } word)
            {
                result.Append('"').Append(word).Append('"');
                i += word.Length - 1;
                continue;
            }
            result.Append(json[i]);
        }
        return result.ToString();
    }

    static string? Bare(string json, int index) =>
        new[] { "-Infinity", "Infinity", "NaN" }.FirstOrDefault(word => string.CompareOrdinal(json, index, word, 0, word.Length) == 0);

    /// <summary>Gets the value of <c>model_type</c>.</summary>
    public string ModelType => Text("model_type") ?? throw Refusal("model_type", null, "the name of a family");

    /// <summary>Gets all keys with their values as JSON.</summary>
    internal IEnumerable<JsonProperty> Entries => root.EnumerateObject();

    /// <summary>Returns whether the key is present and not null.</summary>
    internal bool Has(string key) => Find(key) is not null;

    /// <summary>Returns a value as it is written, for messages.</summary>
    internal object? Value(string key) => Find(key);

    JsonElement? Find(string key)
    {
        asked?.Add(key);
        return root.TryGetProperty(key, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;
    }

    internal int Int(string key, int? otherwise = null)
    {
        if (Find(key) is not { } value) return otherwise ?? throw Refusal(key, null, "an integer");
        return value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int number) ? number : throw Refusal(key, value, "an integer");
    }

    /// <summary>
    /// Returns the first of several spellings of a key that is present, or the first spelling if none is. Contradictory spellings are refused.
    /// </summary>
    internal string Spelling(params ReadOnlySpan<string> keys)
    {
        string? found = null;
        foreach (string key in keys)
        {
            if (Find(key) is not { } value) continue;
            if (found is null) found = key;
            else if (!HuggingFaceNames.AreSame(Find(found)!.Value, value)) throw Refusal(key, value, $"{Shown(Find(found))}, as {found} says");
        }
        return found ?? keys[0];
    }

    /// <summary>Returns whether the key is present with the value null.</summary>
    internal bool IsNull(string key)
    {
        asked?.Add(key);
        return root.TryGetProperty(key, out var value) && value.ValueKind == JsonValueKind.Null;
    }

    /// <summary>
    /// Returns <c>num_key_value_heads</c>: the number of query heads if it is null, and <paramref name="otherwise"/> if it is absent.
    /// </summary>
    internal int KeyValueHeads(int heads, int otherwise) => Int("num_key_value_heads", IsNull("num_key_value_heads") ? heads : otherwise);

    /// <summary>Returns an integer, or a derived one for the word <c>auto</c>.</summary>
    internal int IntOrAuto(string key, int automatic) =>
        Find(key) is { ValueKind: JsonValueKind.String } word && word.ValueEquals("auto") ? automatic : Int(key, automatic);

    internal int Depth(string key)
    {
        int depth = Int(key);
        return depth is >= 1 and <= MaxDepth ? depth : throw Refusal(key, depth, $"1 to {MaxDepth}");
    }

    internal double Double(string key, double? otherwise = null)
    {
        if (Find(key) is not { } value) return otherwise ?? throw Refusal(key, null, "a number");
        return Number(value) ?? throw Refusal(key, value, "a number");
    }

    internal bool Flag(string key, bool otherwise) => Find(key) switch
    {
        null => otherwise,
        { ValueKind: JsonValueKind.True } => true,
        { ValueKind: JsonValueKind.False } => false,
        { } value => throw Refusal(key, value, "true or false"),
    };

    /// <summary>Returns <c>pad_token_id</c>. Null if it is null or not a token.</summary>
    internal int? PaddingId(int vocabulary, int? otherwise)
    {
        asked?.Add("pad_token_id");
        if (root.TryGetProperty("pad_token_id", out var value))
        {
            if (value.ValueKind == JsonValueKind.Null) return null;
            otherwise = Int("pad_token_id");
        }
        return otherwise >= 0 && otherwise < vocabulary ? otherwise : null;
    }

    internal string? Text(string key) => Find(key) switch
    {
        null => null,
        { ValueKind: JsonValueKind.String } value => value.GetString(),
        { } value => throw Refusal(key, value, "a text"),
    };

    /// <summary>Returns a list of texts, or null if the key is absent.</summary>
    internal IReadOnlyList<string>? Texts(string key)
    {
        if (Find(key) is not { } value) return null;
        if (value.ValueKind != JsonValueKind.Array || value.GetArrayLength() is < 1 or > MaxDepth
            || value.EnumerateArray().Any(item => item.ValueKind != JsonValueKind.String))
            throw Refusal(key, value, $"a list of 1 to {MaxDepth} texts");
        return [.. value.EnumerateArray().Select(item => item.GetString()!)];
    }

    /// <summary>Returns a list of numbers, or null if the key is absent.</summary>
    internal IReadOnlyList<double>? Numbers(string key, int? count = null)
    {
        if (Find(key) is not { } value) return null;
        string expected = count is null ? "a list of numbers" : $"a list of {count} numbers";
        if (value.ValueKind != JsonValueKind.Array || value.GetArrayLength() > MaxDepth || (count is not null && value.GetArrayLength() != count))
            throw Refusal(key, value, expected);
        return [.. value.EnumerateArray().Select(item => Number(item) ?? throw Refusal(key, value, expected))];
    }

    // a number, or a spelling of infinity
    static double? Number(JsonElement value)
    {
        if (value.ValueKind == JsonValueKind.Number) return value.GetDouble();
        if (value.ValueKind == JsonValueKind.Object && value.EnumerateObject().Count() == 1 && value.TryGetProperty("__float__", out var inner))
            value = inner;
        if (value.ValueKind != JsonValueKind.String) return null;
        return value.GetString() switch { "Infinity" => double.PositiveInfinity, "-Infinity" => double.NegativeInfinity, _ => null };
    }

    /// <summary>Returns the nonlinearity of a feed-forward.</summary>
    internal Activation Activation(string key, string otherwise) => HuggingFaceNames.Activation(Text(key) ?? otherwise)
        ?? throw Refusal(key, Find(key), $"one of {HuggingFaceNames.Activations}");

    /// <summary>Returns a section that is read by itself and records the keys that are read, or null.</summary>
    internal PretrainedConfig? Recorded(string key) => Section(key) is { } section
        ? new($"{path}: {key}", section.root, options, new(StringComparer.Ordinal)) : null;

    /// <summary>Returns this configuration with the value that another one has for a key that is absent here.</summary>
    internal PretrainedConfig Inherit(string key, PretrainedConfig other)
    {
        if (Has(key) || other.Find(key) is not { } value) return this;
        var joined = JsonNode.Parse(root.GetRawText())!.AsObject();
        joined[key] = JsonNode.Parse(value.GetRawText());
        using var document = JsonDocument.Parse(joined.ToJsonString());
        return new(path, document.RootElement.Clone(), options, asked);
    }

    internal PretrainedConfig? Section(string key) => Find(key) switch
    {
        null => null,
        { ValueKind: JsonValueKind.Object } value => new($"{path}: {key}", value, options),
        { } value => throw Refusal(key, value, "an object"),
    };

    /// <summary>Returns the sections of a key that has one object or a list of objects; none if the key is absent.</summary>
    internal IReadOnlyList<PretrainedConfig> Sections(string key)
    {
        if (Find(key) is not { ValueKind: JsonValueKind.Array } list) return Section(key) is { } one ? [one] : [];
        return [.. list.EnumerateArray().Select((item, index) => item.ValueKind == JsonValueKind.Object
            ? new PretrainedConfig($"{path}: {key}[{index}]", item, options) : throw Refusal(key, list, "an object or a list of objects"))];
    }

    internal InvalidDataException Refusal(string key, object? was, string expected) => new($"{path}: {key} is {Shown(was)}; expected {expected}");

    static string Shown(object? value)
    {
        string shown = value switch
        {
            null => "absent",
            JsonElement element => element.GetRawText(),
            IFormattable number => number.ToString(null, System.Globalization.CultureInfo.InvariantCulture),
            _ => value.ToString()!,
        };
        return shown.Length <= 80 ? shown : shown[..80] + "...";
    }

    /// <summary>Runs a function and prepends the name of the file to the message of its exception.</summary>
    internal T Within<T>(Func<T> read)
    {
        try
        {
            return read();
        }
        catch (Exception error) when (error is ArgumentException or DivideByZeroException or OverflowException)
        {
            throw new InvalidDataException($"{path}: a model with these sizes is not possible: {Require.Text(error)}", error);
        }
    }
}
