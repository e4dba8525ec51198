using System.Globalization;
using System.Runtime.InteropServices;

namespace HybridArchitectures.Kernels.Tests;

static partial class PeakMemory
{
    /// <summary>Returns the maximum number of bytes by which this process grew while <paramref name="work"/> ran.</summary>
    public static long Growth(Action work)
    {
        // what a collection or a finalizer frees while the work runs would hide growth
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
        GC.WaitForPendingFinalizers();
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
        if (OperatingSystem.IsLinux()) ReturnFreeMemory(0);
        long before = Environment.WorkingSet;
        if (!ForgetPeak()) return Sampled(work) - before;
        work();
        return ReadPeak() - before;
    }

    // Linux keeps the maximum itself: a thread that samples can miss it on a busy machine
    static bool ForgetPeak()
    {
        if (!OperatingSystem.IsLinux()) return false;
        try
        {
            File.WriteAllText("/proc/self/clear_refs", "5");
            return true;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    static long ReadPeak()
    {
        string line = File.ReadLines("/proc/self/status").First(line => line.StartsWith("VmHWM:", StringComparison.Ordinal));
        return 1024 * long.Parse(line.AsSpan(6, line.Length - 6 - 2).Trim(), CultureInfo.InvariantCulture);
    }

    static long Sampled(Action work)
    {
        long peak = 0;
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
        return Math.Max(peak, Environment.WorkingSet);
    }

    // freed memory that the allocator keeps would hide growth
    [LibraryImport("libc.so.6", EntryPoint = "malloc_trim")]
    private static partial int ReturnFreeMemory(nint keep);
}
