using HybridArchitectures.Design;

namespace HybridArchitectures.Cost;

/// <summary>An accelerator, as far as decoding depends on it. Figures are those of the vendors' data sheets.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Bandwidth">Memory bandwidth in bytes per second.</param>
/// <param name="Memory">Memory in bytes.</param>
public sealed record Card(string Name, double Bandwidth, double Memory)
{
    /// <summary>The cards known by name.</summary>
    public static IReadOnlyList<Card> Known { get; } =
    [
        new("B200", 8.0e12, 180e9), new("H200", 4.8e12, 141e9), new("H100-SXM", 3.35e12, 80e9), new("H100-PCIe", 2.0e12, 80e9), new("A100-80GB", 2.039e12, 80e9),
        new("A100-40GB", 1.555e12, 40e9), new("L40S", 0.864e12, 48e9), new("RTX-5090", 1.792e12, 32e9), new("RTX-4090", 1.008e12, 24e9), new("RTX-3090", 0.936e12, 24e9),
    ];

    /// <summary>A card by its name, in any case.</summary>
    /// <exception cref="ArgumentException">There is none of this name; the message lists those known.</exception>
    public static Card Get(string name) => Known.FirstOrDefault(card => string.Equals(card.Name, name, StringComparison.OrdinalIgnoreCase))
        ?? throw Require.Refusal(nameof(name), name, $"one of {string.Join(", ", Known.Select(card => card.Name))}");
}
