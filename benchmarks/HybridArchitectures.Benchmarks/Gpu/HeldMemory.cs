using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Benchmarks.Gpu;

/// <summary>
/// Bytes that are held, in a process whose allocators keep nothing: <see cref="Environment"/> says how it must be started. On a GPU each tensor is
/// then the driver's own allocation, given back at once when it is freed; in main memory each large one is a separate mapping.
/// </summary>
sealed class HeldMemory(Device device)
{
    const string NoCache = "PYTORCH_NO_CUDA_MEMORY_CACHING", MappedFrom = "MALLOC_MMAP_THRESHOLD_", TrimmedFrom = "MALLOC_TRIM_THRESHOLD_";

    readonly CudaClock? clock = device.type == DeviceType.CUDA ? new CudaClock() : null;

    /// <summary>What must be set before the process begins.</summary>
    public static IReadOnlyDictionary<string, string> Variables { get; } =
        new Dictionary<string, string> { [NoCache] = "1", [MappedFrom] = "65536", [TrimmedFrom] = "65536" };

    /// <summary>Whether this process was started so.</summary>
    public static bool CanMeasure => Variables.All(variable => System.Environment.GetEnvironmentVariable(variable.Key) == variable.Value);

    /// <summary>Returns the number of bytes held now.</summary>
    public long Now()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
        if (clock is null) return Quick();
        cuda.synchronize();
        return Quick();
    }

    /// <summary>The peak during the run, polled without pause; 0 in main memory, where polling is too slow.</summary>
    public long Most(Action work)
    {
        if (clock is null)
        {
            work();
            return 0;
        }
        long most = Quick();
        bool done = false;
        nint context = clock.Context;
        var watch = new Thread(() =>
        {
            clock.Context = context;
            while (!Volatile.Read(ref done)) most = Math.Max(most, Quick());
        });
        watch.Start();
        try
        {
            work();
            cuda.synchronize();
        }
        finally
        {
            Volatile.Write(ref done, true);
            watch.Join();
        }
        return most;
    }

    // what is free on a GPU falls as more is held: only differences count
    long Quick() => clock is null ? long.Parse(File.ReadAllText("/proc/self/statm").Split(' ')[1]) * System.Environment.SystemPageSize
        : -clock.FreeBytes;
}
