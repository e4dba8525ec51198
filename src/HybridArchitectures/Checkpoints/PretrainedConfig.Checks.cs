using System.Text.Json;
using HybridArchitectures.Storage;

namespace HybridArchitectures.Checkpoints;

/// <content>Checks for settings that contradict each other, are unknown, or describe quantized weights.</content>
public sealed partial class PretrainedConfig
{
    const int MaxNamed = 8;

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

    /// <summary>Refuses a value other than the only one that the family supports here.</summary>
    internal void Only(string key, bool value)
    {
        if (Flag(key, value) != value) throw Refusal(key, Find(key), value ? "true" : "false");
    }

    /// <summary>Refuses a text other than the only one that the family supports here.</summary>
    internal void Only(string key, string value)
    {
        if ((Text(key) ?? value) != value) throw Refusal(key, Find(key), $"\"{value}\"");
    }

    /// <summary>Refuses a window, because windows are not supported in the family.</summary>
    internal void NoWindow()
    {
        asked?.Add("max_window_layers");
        bool used = Flag("use_sliding_window", true);
        if (Has("sliding_window") && used)
            throw Refusal("sliding_window", Find("sliding_window"), "null, because windows are not supported in this family");
    }

    /// <summary>
    /// Returns <c>sliding_window</c>, the number of tokens that a query sees: null if the key is null, and <paramref name="otherwise"/> if it is
    /// absent.
    /// </summary>
    internal int? Window(int otherwise)
    {
        if (IsNull("sliding_window")) return null;
        int window = Int("sliding_window", otherwise);
        return window >= 1 ? window : throw Refusal("sliding_window", window, "at least 1, or null");
    }

    /// <summary>
    /// Returns which layers have a sliding window: those that <c>layer_types</c> calls <c>sliding_attention</c>, or those of a rule if the key is
    /// absent.
    /// </summary>
    internal bool[] Slides(int depth, Func<int, bool> otherwise)
    {
        if (Texts("layer_types") is not { } words) return [.. Enumerable.Range(0, depth).Select(otherwise)];
        if (words.Count != depth) throw Refusal("layer_types", $"{words.Count} words", $"{depth}, as num_hidden_layers says");
        return [.. words.Select(word => word switch
        {
            FullLayer => false,
            SlidingLayer => true,
            _ => throw Refusal("layer_types", word, $"{FullLayer} or {SlidingLayer}"),
        })];
    }

    /// <summary>Returns the head size: <c>head_dim</c>, or <paramref name="width"/> divided by the number of heads.</summary>
    internal int HeadSize(int width, int heads)
    {
        if (Has("head_dim")) return Int("head_dim");
        if (heads < 1 || width % heads != 0) throw Refusal("num_attention_heads", heads, $"a divisor of hidden_size = {width}, or head_dim");
        return width / heads;
    }

    /// <summary>Refuses settings that were not read and that may change the result.</summary>
    /// <param name="modelType">The family.</param>
    /// <param name="unused">The settings of the family that have no effect.</param>
    internal void RefuseUnknown(string modelType, IReadOnlyCollection<string> unused)
    {
        RefuseQuantized();
        RefuseUnknownRotary();
        bool IsKnown(string key) => asked!.Contains(key) || unused.Contains(key) || UnusedSettings.Contains(key) || options.IgnoredKeys.Contains(key);
        var items = root.EnumerateObject().Where(item => !IsKnown(item.Name) && !SaysNothing(item.Value));
        string[] unknown = [.. items.Select(item => $"{item.Name} is {Shown(item.Value)}")];
        if (unknown.Length == 0) return;
        string named = string.Join(", ", unknown.Take(MaxNamed)) + (unknown.Length > MaxNamed ? ", ..." : "");
        throw new InvalidDataException($"{path}: {named}; expected settings that this library supports in {modelType}. "
            + "Where they do not change what the model computes, name them in PretrainedLoadOptions.IgnoredKeys.");
    }

    // a switch that is off, or an empty list
    static bool SaysNothing(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Null or JsonValueKind.False => true,
        JsonValueKind.String => value.ValueEquals(""),
        JsonValueKind.Array => value.GetArrayLength() == 0,
        JsonValueKind.Object => !value.EnumerateObject().Any(),
        _ => false,
    };

    /// <summary>Gets the key that says that the weights are quantized, or null.</summary>
    internal string? Quantization => quantization.FirstOrDefault(key => root.TryGetProperty(key, out var value) && !SaysNothing(value));

    /// <summary>Refuses a configuration that says that the weights are quantized.</summary>
    internal void RefuseQuantized()
    {
        if (Quantization is not { } key) return;
        var value = root.GetProperty(key);
        JsonElement? method = value.ValueKind == JsonValueKind.Object && value.TryGetProperty("quant_method", out var name) ? name : null;
        string by = method is { ValueKind: JsonValueKind.String } text ? $" by {text.GetString()}" : "";
        throw new InvalidDataException($"{path}: {key} is {Shown(value)}; expected weights in float32, bfloat16 or float16. "
            + $"This checkpoint is quantised{by}. {SafetensorsTypes.NoQuantizedWeights}");
    }

    static readonly string[] quantization = ["quantization_config", "quantization", "compression_config", "quantize_config"];

    internal void OnlyKeys(string[] known, string where)
    {
        foreach (var item in root.EnumerateObject())
            if (!known.Contains(item.Name) && item.Value.ValueKind != JsonValueKind.Null)
                throw Refusal(item.Name, item.Value, $"only {string.Join(", ", known)} {where}");
    }
}
