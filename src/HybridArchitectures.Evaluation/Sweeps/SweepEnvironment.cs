using System.Reflection;
using System.Runtime.InteropServices;

namespace HybridArchitectures.Evaluation.Sweeps;

/// <summary>Describes the machine of a run.</summary>
/// <param name="System">The operating system.</param>
/// <param name="Runtime">The .NET runtime.</param>
/// <param name="Library">The version of this library.</param>
/// <param name="Device">The device of the model.</param>
/// <param name="Processors">The number of processor cores of the machine.</param>
/// <param name="Threads">The number of threads of libtorch operators.</param>
/// <param name="Started">The time of the first start of the run.</param>
public sealed record SweepEnvironment(string System, string Runtime, string Library, string Device, int Processors, int Threads,
    DateTimeOffset Started)
{
    internal static SweepEnvironment Current(string device) => new(
        RuntimeInformation.OSDescription, RuntimeInformation.FrameworkDescription,
        typeof(SweepEnvironment).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion ?? "unknown",
        device, Environment.ProcessorCount, TorchSharp.torch.get_num_threads(), DateTimeOffset.UtcNow);
}
