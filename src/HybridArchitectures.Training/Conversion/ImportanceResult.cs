using System.Globalization;
using System.Text;

namespace HybridArchitectures.Training.Conversion;

/// <summary>Contains how much the held-out loss of a model rises when one of its layers is replaced.</summary>
/// <param name="ContextLength">The number of tokens per row.</param>
/// <param name="Tokens">The number of predicted tokens.</param>
/// <param name="Window">The number of tokens of the window. Null if windows were not measured.</param>
/// <param name="Loss">The loss of the model itself, in nats per token.</param>
/// <param name="Layers">The layers with a mixer, in order.</param>
public sealed record ImportanceResult(int ContextLength, long Tokens, int? Window, double Loss, IReadOnlyList<LayerImportance> Layers)
{
    /// <summary>Returns the rise of the loss when a layer is replaced, in nats per token. Null if it was not measured.</summary>
    /// <param name="layer">The number of the layer, from 1.</param>
    /// <param name="replacement">The replacement. The default is <see cref="LayerReplacement.None"/>.</param>
    /// <exception cref="ArgumentException">The layer does not exist or has no mixer.</exception>
    public double? Rise(int layer, LayerReplacement replacement = LayerReplacement.None)
    {
        Require.Defined(replacement);
        var found = Layers.FirstOrDefault(one => one.Layer == layer)
            ?? throw Require.OutOfRange(nameof(layer), layer, $"one of the layers {string.Join(", ", Layers.Select(one => one.Layer))}");
        return Rise(found, replacement);
    }

    double? Rise(LayerImportance layer, LayerReplacement replacement) =>
        (replacement == LayerReplacement.Window ? layer.WithWindow : layer.WithoutMixer) - Loss;

    /// <summary>Returns the layers whose replacement raises the loss least, in order of their numbers.</summary>
    /// <param name="count">The number of layers.</param>
    /// <param name="replacement">The replacement. The default is <see cref="LayerReplacement.None"/>.</param>
    /// <exception cref="ArgumentException">There are not enough layers for which the replacement was measured.</exception>
    public IReadOnlyList<int> ChooseLayers(int count, LayerReplacement replacement = LayerReplacement.None)
    {
        Require.Defined(replacement);
        var measured = Layers.Where(layer => Rise(layer, replacement) is not null).ToArray();
        Require.InRange(count >= 0 && count <= measured.Length, nameof(count), count, $"0 to {measured.Length}, the number of measured layers");
        return [.. measured.OrderBy(layer => Rise(layer, replacement)).ThenBy(layer => layer.Layer).Take(count).Select(layer => layer.Layer).Order()];
    }

    /// <summary>Returns the rises of the loss as a Markdown table.</summary>
    public string ToTable()
    {
        static string Text(double? rise) => rise is { } value ? value.ToString("+0.0000;-0.0000;0.0000", CultureInfo.InvariantCulture) : "";
        string window = Window is { } size ? string.Create(CultureInfo.InvariantCulture, $"window of {size}") : "window";
        var text = new StringBuilder($"| layer | mixer | without mixer | {window} |\n| ---: | --- | ---: | ---: |\n");
        foreach (var layer in Layers)
            text.Append(CultureInfo.InvariantCulture, $"| {layer.Layer} | {layer.Mixer} | {Text(Rise(layer, LayerReplacement.None))} ")
                .Append(CultureInfo.InvariantCulture, $"| {Text(Rise(layer, LayerReplacement.Window))} |\n");
        return text.ToString();
    }
}
