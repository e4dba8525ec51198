using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>
/// Requests large pages for large tensors. New memory is then provided in units of 2 MB instead of 4 kB, which otherwise takes the greater part of
/// the time of filling it.
/// </summary>
static partial class LargePages
{
    const long PageBytes = 2 << 20;
    const int AdviseHugePages = 14;

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int Advise(nint address, nint length, int advice);

    /// <summary>Requests large pages for a tensor on the CPU that has not been written yet. Nothing changes if the system has none.</summary>
    public static void Advise(Tensor fresh)
    {
        if (!OperatingSystem.IsLinux() || fresh.device_type != DeviceType.CPU) return;
        long bytes = fresh.NumberOfElements * fresh.ElementSize;
        if (bytes < 2 * PageBytes) return;
        nint start = TensorMemory.Pointer(fresh), first = (nint)((start + PageBytes - 1) / PageBytes * PageBytes);
        long length = (start + bytes - first) / PageBytes * PageBytes;
        if (length > 0) Advise(first, (nint)length, AdviseHugePages);
        GC.KeepAlive(fresh);
    }
}
