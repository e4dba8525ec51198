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

    void OnlyKeys(string[] known, string where)
    {
        foreach (var item in root.EnumerateObject())
            if (!known.Contains(item.Name) && item.Value.ValueKind != JsonValueKind.Null)
                throw Refusal(item.Name, item.Value, $"only {string.Join(", ", known)} {where}");
    }
}
