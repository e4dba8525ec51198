using System.Runtime.InteropServices;

namespace HybridArchitectures.Kernels.Tests;

static partial class PeakMemory
{
    /// <summary>Returns the maximum number of bytes by which this process grew while <paramref name="work"/> ran.</summary>
    public static long Growth(Action work)
    {
        if (OperatingSystem.IsLinux()) ReturnFreeMemory(0);
        long peak = 0, before = Environment.WorkingSet;
        using var stop = new CancellationTokenSource();
        var watch = new Thread(() =>
        {
            while (!stop.IsCancellationRequested) { peak = Math.Max(peak, Environment.WorkingSet); Thread.Sleep(1); }
        });
        watch.Start();
        try
        {
            work();
        }
        finally
        {
            stop.Cancel();
            watch.Join();
        }
        // on a busy machine, the other thread may not have run at all
        peak = Math.Max(peak, Environment.WorkingSet);
        return peak - before;
    }

    // freed memory that the allocator keeps would hide growth
    [LibraryImport("libc.so.6", EntryPoint = "malloc_trim")]
    private static partial int ReturnFreeMemory(nint keep);
}
