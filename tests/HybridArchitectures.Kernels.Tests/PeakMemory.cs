namespace HybridArchitectures.Kernels.Tests;

static class PeakMemory
{
    /// <summary>By how many bytes this process grew at most while <paramref name="work"/> ran.</summary>
    public static long Growth(Action work)
    {
        long peak = 0, before = Environment.WorkingSet;
        using var stop = new CancellationTokenSource();
        var watch = new Thread(() =>
        {
            while (!stop.IsCancellationRequested) { peak = Math.Max(peak, Environment.WorkingSet); Thread.Yield(); }
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
        return peak - before;
    }
}
