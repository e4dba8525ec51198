using System.Reflection;
using System.Runtime.InteropServices;

namespace HybridArchitectures.Evaluation;

/// <summary>Where a run was made.</summary>
/// <param name="System">The operating system.</param>
/// <param name="Runtime">The .NET runtime.</param>
/// <param name="Library">The version of this library.</param>
/// <param name="Device">The device of the model.</param>
/// <param name="Processors">Processor cores of the machine.</param>
/// <param name="Threads">Threads of libtorch's operators.</param>
/// <param name="Started">When the run was first started.</param>
public sealed record SweepEnvironment(string System, string Runtime, string Library, string Device, int Processors, int Threads,
    DateTimeOffset Started)
{
    internal static SweepEnvironment Current(string device) => new(
        RuntimeInformation.OSDescription, RuntimeInformation.FrameworkDescription,
        typeof(SweepEnvironment).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion ?? "unknown",
        device, Environment.ProcessorCount, TorchSharp.torch.get_num_threads(), DateTimeOffset.UtcNow);
}
