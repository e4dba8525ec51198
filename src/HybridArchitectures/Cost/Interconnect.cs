namespace HybridArchitectures.Cost;

/// <summary>Describes the connection between GPUs for estimates of communication.</summary>
/// <param name="Name">The name of the connection.</param>
/// <param name="Bandwidth">
/// The bytes per second in one direction at the narrowest place of a ring over all GPUs: between two GPUs of a machine, or between two machines over
/// all of their network adapters.
/// </param>
/// <param name="Latency">The time of one step of the ring in seconds, whatever its size.</param>
public sealed record Interconnect(string Name, double Bandwidth, double Latency)
{
    /// <summary>Gets or sets the source of the numbers. Null for a user-defined connection.</summary>
    public string? Source { get; init; }

    /// <summary>Gets the known connections. Bandwidths are those of data sheets; libraries reach a part of them.</summary>
    public static IReadOnlyList<Interconnect> Known { get; } =
    [
        new("NVLink", 450e9, 2e-6) { Source = "NVIDIA H200 data sheet: 900 GB/s in both directions; up to 8 GPUs of one machine" },
        new("NVLink-A100", 300e9, 2e-6) { Source = "NVIDIA A100 data sheet: 600 GB/s in both directions; up to 8 GPUs of one machine" },
        new("InfiniBand", 400e9, 5e-6) { Source = "NVIDIA DGX H100 data sheet: 8 ports of 400 Gbit/s per machine" },
        new("Ethernet-400G", 50e9, 10e-6) { Source = "one port of 400 Gbit/s per machine" },
        new("Ethernet-100G", 12.5e9, 20e-6) { Source = "one port of 100 Gbit/s per machine" },
        new("Ethernet-10G", 1.25e9, 50e-6) { Source = "one port of 10 Gbit/s per machine" },
    ];

    /// <summary>Returns a known connection by its name. The case is ignored.</summary>
    /// <param name="name">The name, for example <c>NVLink</c>.</param>
    /// <exception cref="ArgumentException">The name is unknown. The message lists the known names.</exception>
    public static Interconnect Get(string name) =>
        Known.FirstOrDefault(link => string.Equals(link.Name, name, StringComparison.OrdinalIgnoreCase))
        ?? throw Require.Refusal(nameof(name), name, $"one of {string.Join(", ", Known.Select(link => link.Name))}");
}
