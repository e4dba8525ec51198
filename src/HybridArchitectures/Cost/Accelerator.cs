namespace HybridArchitectures.Cost;

/// <summary>Describes an accelerator for estimates of decoding time.</summary>
/// <param name="Name">The name of the accelerator.</param>
/// <param name="Bandwidth">The memory bandwidth in bytes per second.</param>
/// <param name="Memory">The memory in bytes.</param>
public sealed record Accelerator(string Name, double Bandwidth, double Memory)
{
    /// <summary>Gets or sets the dense bfloat16 operations per second with float32 sums. The default, null, means unknown.</summary>
    public double? Flops { get; init; }

    /// <summary>Gets or sets the source of the numbers. Null for a user-defined accelerator.</summary>
    public string? Source { get; init; }

    /// <summary>Gets the known accelerators.</summary>
    public static IReadOnlyList<Accelerator> Known { get; } =
    [
        // 7,680 bits at 3,996 MHz, twice per clock: slightly below the announced 8 TB/s
        new("B200", 7.67e12, 180e9)
        {
            Flops = 2250e12,
            Source = "memory clock and bus width that the driver reports, github.com/pytorch/ao/pull/4002; memory: NVIDIA DGX B200 data sheet",
        },
        new("H200", 4.8e12, 141e9) { Flops = 989e12, Source = "NVIDIA H200 data sheet" },
        new("H100-SXM", 3.35e12, 80e9) { Flops = 989e12, Source = "NVIDIA H100 data sheet" },
        new("H100-PCIe", 2.0e12, 80e9) { Flops = 756e12, Source = "NVIDIA H100 data sheet" },
        new("A100-80GB", 2.039e12, 80e9) { Flops = 312e12, Source = "NVIDIA A100 data sheet 1758950, SXM" },
        new("A100-40GB", 1.555e12, 40e9) { Flops = 312e12, Source = "NVIDIA A100 data sheet 1758950" },
        new("L40S", 0.864e12, 48e9) { Flops = 362e12, Source = "NVIDIA L40S data sheet" },
        new("RTX-5090", 1.792e12, 32e9) { Flops = 209.5e12, Source = "NVIDIA GeForce RTX 5090 specifications: 512 bits at 28 Gbit/s" },
        new("RTX-4090", 1.008e12, 24e9) { Flops = 165.2e12, Source = "NVIDIA GeForce RTX 4090 specifications: 384 bits at 21 Gbit/s" },
        new("RTX-3090", 0.936e12, 24e9) { Flops = 71e12, Source = "NVIDIA GeForce RTX 3090 specifications: 384 bits at 19.5 Gbit/s" },
    ];

    /// <summary>Returns a known accelerator by its name. The case is ignored.</summary>
    /// <param name="name">The name, for example <c>H200</c>.</param>
    /// <exception cref="ArgumentException">The name is unknown. The message lists the known names.</exception>
    public static Accelerator Get(string name) =>
        Known.FirstOrDefault(accelerator => string.Equals(accelerator.Name, name, StringComparison.OrdinalIgnoreCase))
        ?? throw Require.Refusal(nameof(name), name, $"one of {string.Join(", ", Known.Select(accelerator => accelerator.Name))}");

    /// <summary>Returns the known accelerator with the name that a driver reports, such as <c>NVIDIA H200</c>; null if there is none.</summary>
    /// <param name="deviceName">The name of the device. Every part of the name of the accelerator must occur in it.</param>
    public static Accelerator? Find(string deviceName)
    {
        ArgumentNullException.ThrowIfNull(deviceName);
        // a driver writes "NVIDIA H100 80GB HBM3" for the module with SXM
        string text = deviceName.Contains("H100", StringComparison.Ordinal) && !deviceName.Contains("PCIe", StringComparison.Ordinal)
            ? deviceName + " SXM" : deviceName;
        return Known.FirstOrDefault(accelerator =>
            accelerator.Name.Split('-').All(part => text.Contains(part, StringComparison.OrdinalIgnoreCase)));
    }
}
