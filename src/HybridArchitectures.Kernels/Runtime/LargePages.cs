using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>Large pages for large tensors: fresh memory is then handed over by two megabytes at a time instead of four kilobytes, which is most of the time that filling it takes.</summary>
static partial class LargePages
{
    const long PageBytes = 2 << 20;
    const int AdviseHugePages = 14;

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int Advise(nint address, nint length, int advice);

    /// <summary>Asks for them for a tensor in main memory that nothing has touched yet. A wish: where the system has none, nothing changes.</summary>
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
