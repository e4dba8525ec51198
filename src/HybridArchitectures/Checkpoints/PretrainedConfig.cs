using System.Text;
using System.Text.Json;
using HybridArchitectures.Design;
using HybridArchitectures.Kernels;

namespace HybridArchitectures.Checkpoints;

/// <summary>
/// The <c>config.json</c> of a Hugging Face folder, in the words of published checkpoints or of later ones (<c>rope_theta</c> or <c>rope_parameters</c>).
/// A key with the value null counts as absent. Every refusal names the file, the key, its value and what was expected.
/// </summary>
public sealed class PretrainedConfig
{
    const long LargestFile = 16 << 20;
    const int LargestDepth = HybridDesign.LargestDepth;
    const int MostNamed = 8;

    readonly string path;
    readonly JsonElement root;
    readonly PretrainedLoadOptions options;
    readonly HashSet<string>? asked;        // the keys that a family has read; null where nobody counts them

    PretrainedConfig(string path, JsonElement root, PretrainedLoadOptions? options = null, HashSet<string>? asked = null) =>
        (this.path, this.root, this.options, this.asked) = (path, root, options ?? new(), asked);

    /// <summary>The same configuration for one reading, which notes the keys that the reading asks for.</summary>
    internal PretrainedConfig For(PretrainedLoadOptions? options) => new(path, root, options, new(StringComparer.Ordinal));

    /// <summary>Whether settings mean what they mean in transformers, faults included.</summary>
    internal bool FollowsTransformers => options.Semantics == PretrainedSemantics.Transformers;

    /// <summary>Reads a file.</summary>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">It is no JSON object.</exception>
    public static PretrainedConfig Read(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        var file = new FileInfo(path);
        if (!file.Exists) throw new FileNotFoundException($"no file '{path}'", path);
        if (file.Length > LargestFile) throw new InvalidDataException($"{path}: {file.Length} bytes; expected a configuration of at most {LargestFile}");
        return Parse(File.ReadAllText(path), path);
    }

    /// <summary>Reads a text; <paramref name="path"/> is what refusals call it.</summary>
    internal static PretrainedConfig Parse(string json, string path)
    {
        try
        {
            using var document = JsonDocument.Parse(WithoutBareNumbers(json));
            if (document.RootElement.ValueKind != JsonValueKind.Object) throw new InvalidDataException($"{path}: {document.RootElement.ValueKind}; expected a JSON object");
            Unescape(document.RootElement);
            return new(path, document.RootElement.Clone());
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException)
        {
            throw new InvalidDataException($"{path}: not JSON ({error.Message})", error);
        }
    }

    // the parser checks escapes such as half a surrogate pair only when a text is asked for
    static void Unescape(JsonElement element)
    {
        if (element.ValueKind == JsonValueKind.String) _ = element.GetString();
        else if (element.ValueKind == JsonValueKind.Array)
            foreach (var item in element.EnumerateArray()) Unescape(item);
        else if (element.ValueKind == JsonValueKind.Object)
            foreach (var item in element.EnumerateObject())
            {
                _ = item.Name;
                Unescape(item.Value);
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

    /// <summary>The value of <c>model_type</c>.</summary>
    public string ModelType => Text("model_type") ?? throw Refusal("model_type", null, "the name of a family");

    /// <summary>All keys with their values as JSON.</summary>
    internal IEnumerable<JsonProperty> Entries => root.EnumerateObject();

    /// <summary>Whether the key is there and not null.</summary>
    internal bool Has(string key) => Find(key) is not null;

    /// <summary>A value as it is written, for a refusal.</summary>
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
    /// The first of several spellings of a key that is there; the first of all if none is. Spellings that contradict each other are refused.
    /// </summary>
    internal string Spelling(params ReadOnlySpan<string> keys)
    {
        string? found = null;
        foreach (string key in keys)
        {
            if (Find(key) is not { } value) continue;
            if (found is null) found = key;
            else if (!Words.AreSame(Find(found)!.Value, value)) throw Refusal(key, value, $"{Shown(Find(found))}, as {found} says");
        }
        return found ?? keys[0];
    }

    /// <summary>Whether the key is written with the value null.</summary>
    internal bool IsNull(string key)
    {
        asked?.Add(key);
        return root.TryGetProperty(key, out var value) && value.ValueKind == JsonValueKind.Null;
    }

    /// <summary>Refuses a second statement of a size that contradicts the first.</summary>
    internal void Agree(string key, int expected, string because)
    {
        if (Has(key) && Int(key) != expected) throw Refusal(key, Find(key), $"{expected}, as {because}");
    }

    /// <summary>Refuses a second statement of a number that contradicts the first.</summary>
    internal void AgreeAbout(string key, double expected, string because)
    {
        if (Has(key) && Double(key) != expected) throw Refusal(key, Find(key), FormattableString.Invariant($"{expected}, as {because}"));
    }

    /// <summary>Refuses a value other than the only one that the family's models have here.</summary>
    internal void Only(string key, bool value)
    {
        if (Flag(key, value) != value) throw Refusal(key, Find(key), value ? "true" : "false");
    }

    /// <summary>Refuses a text other than the only one that the family's models have here.</summary>
    internal void Only(string key, string value)
    {
        if ((Text(key) ?? value) != value) throw Refusal(key, Find(key), $"\"{value}\"");
    }

    /// <summary>Refuses a window: the family's attention sees all earlier tokens here.</summary>
    internal void NoWindow()
    {
        asked?.Add("max_window_layers");
        bool used = Flag("use_sliding_window", true);
        if (Has("sliding_window") && used)
            throw Refusal("sliding_window", Find("sliding_window"), "null, since windows are not supported in this family");
    }

    /// <summary>The size of a head: as stated by <c>head_dim</c>, or <paramref name="width"/> divided by the number of heads.</summary>
    internal int HeadSize(int width, int heads)
    {
        if (Has("head_dim")) return Int("head_dim");
        if (heads < 1 || width % heads != 0) throw Refusal("num_attention_heads", heads, $"a divisor of hidden_size = {width}, or head_dim");
        return width / heads;
    }

    /// <summary>Refuses settings that the reading has not asked for and that are not known to change nothing.</summary>
    /// <param name="modelType">The family.</param>
    /// <param name="unused">Settings of the family that change nothing.</param>
    internal void RefuseUnknown(string modelType, IReadOnlyCollection<string> unused)
    {
        RefuseQuantized();
        bool IsKnown(string key) => asked!.Contains(key) || unused.Contains(key) || UnusedSettings.Contains(key) || options.IgnoredKeys.Contains(key);
        var items = root.EnumerateObject().Where(item => !IsKnown(item.Name) && !SaysNothing(item.Value));
        string[] unknown = [.. items.Select(item => $"{item.Name} is {Shown(item.Value)}")];
        if (unknown.Length == 0) return;
        string named = string.Join(", ", unknown.Take(MostNamed)) + (unknown.Length > MostNamed ? ", ..." : "");
        throw new InvalidDataException($"{path}: {named}; expected settings that this library knows in {modelType}. "
            + "Where they do not change what the model computes, name them in PretrainedLoadOptions.IgnoredKeys.");
    }

    // a switch that is off and a list that is empty
    static bool SaysNothing(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Null or JsonValueKind.False => true,
        JsonValueKind.String => value.ValueEquals(""),
        JsonValueKind.Array => value.GetArrayLength() == 0,
        JsonValueKind.Object => !value.EnumerateObject().Any(),
        _ => false,
    };

    /// <summary>The key that says that the weights are quantised, or null.</summary>
    internal string? Quantization => quantization.FirstOrDefault(key => root.TryGetProperty(key, out var value) && !SaysNothing(value));

    /// <summary>Refuses a configuration that says that the weights are quantised.</summary>
    internal void RefuseQuantized()
    {
        if (Quantization is not { } key) return;
        var value = root.GetProperty(key);
        JsonElement? method = value.ValueKind == JsonValueKind.Object && value.TryGetProperty("quant_method", out var name) ? name : null;
        string by = method is { ValueKind: JsonValueKind.String } text ? $" by {text.GetString()}" : "";
        throw new InvalidDataException($"{path}: {key} is {Shown(value)}; expected weights in float32, bfloat16 or float16. "
            + $"This checkpoint is quantised{by}. {NoQuantizedWeights}");
    }

    /// <summary>What can be done about a quantised checkpoint.</summary>
    internal const string NoQuantizedWeights = "Quantised weights are not supported: load the original checkpoint, or dequantise this one first.";

    static readonly string[] quantization = ["quantization_config", "quantization", "compression_config", "quantize_config"];

    /// <summary><c>num_key_value_heads</c>: as many as query heads where null is written, <paramref name="otherwise"/> where nothing is.</summary>
    internal int KeyValueHeads(int heads, int otherwise) => Int("num_key_value_heads", IsNull("num_key_value_heads") ? heads : otherwise);

    /// <summary>An integer, or the word <c>auto</c> for a derived one.</summary>
    internal int IntOrAuto(string key, int automatic) =>
        Find(key) is { ValueKind: JsonValueKind.String } word && word.ValueEquals("auto") ? automatic : Int(key, automatic);

    internal int Depth(string key)
    {
        int depth = Int(key);
        return depth is >= 1 and <= LargestDepth ? depth : throw Refusal(key, depth, $"1 to {LargestDepth}");
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

    /// <summary><c>pad_token_id</c>; null where it is written as null or names no token.</summary>
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

    /// <summary>A list of texts; null if the key is absent.</summary>
    internal IReadOnlyList<string>? Texts(string key)
    {
        if (Find(key) is not { } value) return null;
        if (value.ValueKind != JsonValueKind.Array || value.GetArrayLength() is < 1 or > LargestDepth || value.EnumerateArray().Any(item => item.ValueKind != JsonValueKind.String))
            throw Refusal(key, value, $"a list of 1 to {LargestDepth} texts");
        return [.. value.EnumerateArray().Select(item => item.GetString()!)];
    }

    /// <summary>A list of numbers; null if the key is absent.</summary>
    internal IReadOnlyList<double>? Numbers(string key, int? count = null)
    {
        if (Find(key) is not { } value) return null;
        string expected = count is null ? "a list of numbers" : $"a list of {count} numbers";
        if (value.ValueKind != JsonValueKind.Array || value.GetArrayLength() > LargestDepth || (count is not null && value.GetArrayLength() != count)) throw Refusal(key, value, expected);
        return [.. value.EnumerateArray().Select(item => Number(item) ?? throw Refusal(key, value, expected))];
    }

    // a number, or an infinity in one of its spellings
    static double? Number(JsonElement value)
    {
        if (value.ValueKind == JsonValueKind.Number) return value.GetDouble();
        if (value.ValueKind == JsonValueKind.Object && value.TryGetProperty("__float__", out var inner)) value = inner;
        if (value.ValueKind != JsonValueKind.String) return null;
        return value.GetString() switch { "Infinity" => double.PositiveInfinity, "-Infinity" => double.NegativeInfinity, _ => null };
    }

    /// <summary>The limits to which time steps are clamped, or null where they clamp nothing.</summary>
    internal Interval? TimeStepLimit(string key = "time_step_limit")
    {
        if (Numbers(key, 2) is not { } ends) return null;
        if (ends[0] <= 0 && ends[1] >= float.MaxValue) return null;
        if (!(ends[0] >= 0 && ends[0] <= ends[1])) throw Refusal(key, Find(key), "two numbers, 0 <= the first <= the second");
        return new(ends[0], Math.Min(ends[1], float.MaxValue));
    }

    /// <summary>
    /// The limits to which time steps are clamped in the families whose transformers code clamps them at <c>time_step_min</c>: that lower end alone,
    /// or <c>time_step_limit</c> as the model was trained. Null where they clamp nothing.
    /// </summary>
    internal Interval? TimeStepLimit(string limitKey, string minKey)
    {
        double least = Double(minKey, 0.001);
        if (!(double.IsFinite(least) && least >= 0)) throw Refusal(minKey, Find(minKey), "a finite number of at least 0");
        var limit = TimeStepLimit(limitKey);
        return !FollowsTransformers ? limit : least <= NoTimeStep ? null : new(least, float.MaxValue);
    }

    /// <summary>A time step so small that none is smaller: softplus returns less only below -27.</summary>
    internal const double NoTimeStep = 1e-12;

    /// <summary>
    /// Groups of the gated norm in the families whose transformers code normalises the whole inner width: as many as the groups of B and C, or 1.
    /// </summary>
    internal int NormGroups(int groups)
    {
        int otherwise = FollowsTransformers ? 1 : groups;
        int stated = Int(WholeNorm, otherwise);
        return stated == 1 || stated == groups ? stated : throw Refusal(WholeNorm, stated, $"1, or the {groups} groups of the state-space layer");
    }

    /// <summary>The key by which this library states another number of norm groups than the number of groups. Other programs ignore it.</summary>
    internal const string WholeNorm = "gated_norm_groups";

    /// <summary>The nonlinearity of a feed-forward.</summary>
    internal Activation Activation(string key, string otherwise) => Words.Activation(Text(key) ?? otherwise)
        ?? throw Refusal(key, Find(key), $"one of {Words.Activations}");

    /// <summary>
    /// Rotary positions by <c>rope_scaling</c> or, where that is absent or empty, by <c>rope_parameters</c>. A base in that section wins over
    /// <c>rope_theta</c> next to it, as in transformers. Keys of the section that its kind does not know are refused.
    /// </summary>
    /// <param name="theta">The base where none is written.</param>
    /// <param name="fraction">The rotated part where none is written; null in families whose reference rotates whole heads.</param>
    internal RotarySpec Rotary(double theta = 10_000, double? fraction = null)
    {
        foreach (string key in RotaryKeys) asked?.Add(key);
        var parameters = Section("rope_parameters");
        var section = Section("rope_scaling") is { } old && old.root.EnumerateObject().Any() ? old : parameters;
        theta = section?.Has("rope_theta") == true ? section.Double("rope_theta") : Double("rope_theta", theta);
        string kind = section?.RotaryKind() ?? "default";
        if (kind is not ("default" or "llama3")) throw section!.Refusal(section.Spelling("rope_type", "type"), kind, "\"default\" or \"llama3\"");
        section?.OnlyKeys(kind == "default" ? defaultRotary : llama3Rotary, $"in rotary positions of the kind \"{kind}\"");
        var spec = new RotarySpec { Theta = theta, Fraction = RotatedPart(section, fraction) };
        return kind == "default" ? spec : spec with
        {
            Scaling = new(section!.Double("factor"), section.Double("low_freq_factor"), section.Double("high_freq_factor"), OriginalContext(section)),
        };
    }

    /// <summary>The settings of rotary positions, which change nothing where there are none.</summary>
    internal static readonly string[] RotaryKeys =
        ["rope_theta", "rope_parameters", "rope_scaling", "partial_rotary_factor", "original_max_position_embeddings"];

    static readonly string[] defaultRotary = ["rope_type", "type", "rope_theta", "partial_rotary_factor"];
    static readonly string[] llama3Rotary = [.. defaultRotary, "factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"];

    string? RotaryKind() => Text(Spelling("rope_type", "type"));

    int OriginalContext(PretrainedConfig section)
    {
        const string key = "original_max_position_embeddings";
        return Has(key) ? Int(key) : section.Int(key, Has("max_position_embeddings") ? Int("max_position_embeddings") : null);
    }

    double RotatedPart(PretrainedConfig? section, double? otherwise)
    {
        const string key = "partial_rotary_factor";
        var place = section?.Has(key) == true ? section : this;
        double stated = place.Double(key, otherwise ?? 1);
        if (otherwise is { } part) return FollowsTransformers && place == this ? part : stated;
        // the reference rotates whole heads whatever is written here
        return FollowsTransformers || stated == 1 ? 1 : throw place.Refusal(key, stated, "1, since this family rotates whole heads");
    }

    void OnlyKeys(string[] known, string where)
    {
        foreach (var item in root.EnumerateObject())
            if (!known.Contains(item.Name) && item.Value.ValueKind != JsonValueKind.Null)
                throw Refusal(item.Name, item.Value, $"only {string.Join(", ", known)} {where}");
    }

    PretrainedConfig? Section(string key) => Find(key) switch
    {
        null => null,
        { ValueKind: JsonValueKind.Object } value => new($"{path}: {key}", value, options),
        { } value => throw Refusal(key, value, "an object"),
    };

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

    /// <summary>Runs what may refuse a size, and puts the file's name before the refusal.</summary>
    internal T Within<T>(Func<T> read)
    {
        try
        {
            return read();
        }
        catch (Exception error) when (error is ArgumentException or DivideByZeroException or OverflowException)
        {
            throw new InvalidDataException($"{path}: no model can be made of these sizes: {Require.Text(error)}", error);
        }
    }
}
