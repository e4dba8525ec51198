using System.Globalization;
using System.Runtime.InteropServices;
using HybridArchitectures.Kernels.Runtime;
using TorchSharp;

namespace HybridArchitectures.Evaluation.Inference;

/// <summary>
/// Measures the growth of memory during some work. In main memory, it is the growth of the resident memory of the process to its peak, which Linux
/// records. On a GPU, it is the growth of the memory in use on the device: the caching allocator of libtorch returns none, so this is the growth of
/// its peak, which is 0 if the work fits into what earlier work has left in the cache.
/// </summary>
sealed class PeakMemory
{
    const string Status = "/proc/self/status", ClearReferences = "/proc/self/clear_refs";

    readonly Func<long?> read;
    readonly long? before;

    PeakMemory(Func<long?> read) => (this.read, before) = (read, read());

    /// <summary>Starts a measurement.</summary>
    /// <param name="device">The device of the work.</param>
    public static PeakMemory Start(torch.Device device)
    {
        if (device.type == DeviceType.CUDA) return new PeakMemory(() => DeviceUse(device));
        return new PeakMemory(ResetProcessPeak() ? ProcessPeak : static () => null);
    }

    /// <summary>Returns the growth in bytes; null if the system does not tell.</summary>
    public long? Stop() => read() is { } now && before is { } then ? Math.Max(0, now - then) : null;

    // the peak becomes the present resident memory, after freed memory has been returned to the system
    static bool ResetProcessPeak()
    {
        if (!OperatingSystem.IsLinux()) return false;
        try
        {
            if (NativeLibrary.TryLoad("libc.so.6", out nint library) && NativeLibrary.TryGetExport(library, "malloc_trim", out nint trim))
                Marshal.GetDelegateForFunctionPointer<Trim>(trim)(0);
            File.WriteAllText(ClearReferences, "5");
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    static long? ProcessPeak()
    {
        const string key = "VmHWM:";
        foreach (string line in File.ReadLines(Status))
            if (line.StartsWith(key, StringComparison.Ordinal))
                return long.Parse(line[key.Length..].Replace("kB", "", StringComparison.Ordinal), CultureInfo.InvariantCulture) * 1024;
        return null;
    }

    static long DeviceUse(torch.Device device)
    {
        torch.cuda.synchronize();
        var (free, total) = CudaGraphDriver.Memory(Math.Max(0, device.index));
        return total - free;
    }

    delegate int Trim(nint keep);
}
