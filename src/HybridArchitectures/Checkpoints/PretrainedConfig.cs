using System.Text;
using System.Text.Json;
using HybridArchitectures.Design;
using HybridArchitectures.Kernels;

namespace HybridArchitectures.Checkpoints;

/// <summary>
/// The <c>config.json</c> of a Hugging Face folder, in the words of published checkpoints or of later ones (<c>rope_theta</c> or <c>rope_parameters</c>).
/// A key with the value null counts as absent. Every refusal names the file, the key, what it was and what was expected.
/// </summary>
public sealed class PretrainedConfig
{
    const long LargestFile = 16 << 20;
    const int LargestDepth = HybridDesign.LargestDepth;

    readonly string path;
    readonly JsonElement root;

    PretrainedConfig(string path, JsonElement root) => (this.path, this.root) = (path, root);

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

    JsonElement? Find(string key) => root.TryGetProperty(key, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;

    internal int Int(string key, int? otherwise = null)
    {
        if (Find(key) is not { } value) return otherwise ?? throw Refusal(key, null, "an integer");
        return value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int number) ? number : throw Refusal(key, value, "an integer");
    }

    /// <summary>The first of several spellings of a key that is there; the first of all if none is.</summary>
    internal string Spelling(params ReadOnlySpan<string> keys)
    {
        foreach (string key in keys)
            if (Has(key)) return key;
        return keys[0];
    }

    /// <summary>Whether the key is written with the value null.</summary>
    internal bool IsNull(string key) => root.TryGetProperty(key, out var value) && value.ValueKind == JsonValueKind.Null;

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

    /// <summary>The ends to which time steps are clamped; null where they clamp nothing.</summary>
    internal Interval? TimeStepLimit()
    {
        if (Numbers("time_step_limit", 2) is not { } ends) return null;
        if (ends[0] <= 0 && double.IsPositiveInfinity(ends[1])) return null;
        if (!(ends[0] >= 0 && ends[0] <= ends[1])) throw Refusal("time_step_limit", Find("time_step_limit"), "two numbers, 0 <= the first <= the second");
        return new(ends[0], Math.Min(ends[1], float.MaxValue));
    }

    /// <summary>The least time step, in families whose reference clamps time steps at that end alone; null where it clamps nothing.</summary>
    internal Interval? LeastTimeStep(string key = "time_step_min")
    {
        double least = Double(key, 0.001);
        if (!(double.IsFinite(least) && least >= 0)) throw Refusal(key, Find(key), "a finite number of at least 0");
        return least <= NoTimeStep ? null : new(least, float.MaxValue);
    }

    /// <summary>A time step so small that none is smaller: softplus gives less below -27 only.</summary>
    internal const double NoTimeStep = 1e-12;

    /// <summary>The nonlinearity of a feed-forward.</summary>
    internal Activation Activation(string key, string otherwise) => Words.Activation(Text(key) ?? otherwise)
        ?? throw Refusal(key, Find(key), $"one of {Words.Activations}");

    /// <summary>Rotary positions: by <c>rope_scaling</c> or, where that is absent, <c>rope_parameters</c>, then by the keys beside them, as the reference takes them.</summary>
    /// <param name="theta">The base where none is written.</param>
    /// <param name="fraction">The rotated part where the section writes none; null in families whose reference turns whole heads whatever is written.</param>
    internal RotarySpec Rotary(double theta = 10_000, double? fraction = null)
    {
        var scaling = Section("rope_scaling") is { } old && old.root.EnumerateObject().Any() ? old : Section("rope_parameters");
        theta = scaling?.Has("rope_theta") == true ? scaling.Double("rope_theta") : Double("rope_theta", theta);
        if (fraction is not null && scaling?.Has("partial_rotary_factor") == true) fraction = scaling.Double("partial_rotary_factor");
        string kind = scaling?.Text("rope_type") ?? scaling?.Text("type") ?? "default";
        RotarySpec Of(Llama3RotaryScaling? stretch) => new() { Theta = theta, Fraction = fraction ?? 1, Scaling = stretch };
        return kind switch
        {
            "default" => Of(null),
            "llama3" => Of(new(scaling!.Double("factor"), scaling.Double("low_freq_factor"), scaling.Double("high_freq_factor"),
                Has("original_max_position_embeddings") ? Int("original_max_position_embeddings")
                    : scaling.Int("original_max_position_embeddings", Has("max_position_embeddings") ? Int("max_position_embeddings") : null))),
            _ => throw new InvalidDataException($"{path}: rope_type was \"{kind}\", expected \"default\" or \"llama3\""),
        };
    }

    PretrainedConfig? Section(string key) => Find(key) switch
    {
        null => null,
        { ValueKind: JsonValueKind.Object } value => new($"{path}: {key}", value),
        { } value => throw Refusal(key, value, "an object"),
    };

    internal InvalidDataException Refusal(string key, object? was, string expected)
    {
        string shown = was switch { null => "absent", JsonElement element => element.GetRawText(), _ => was.ToString()! };
        return new($"{path}: {key} was {(shown.Length <= 80 ? shown : shown[..80] + "...")}, expected {expected}");
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
            throw new InvalidDataException($"{path}: no model can be made of these sizes: {error.Message}", error);
        }
    }
}
