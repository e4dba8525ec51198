using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Benchmarks.Gpu;

/// <summary>
/// Counts the bytes of all tensors, in a process whose allocators keep no free memory. <see cref="Environment"/> contains the variables with which it
/// must be started. On a GPU, each tensor is then an allocation of the driver, which is released when the tensor is freed. In main memory, each large
/// tensor is a separate mapping.
/// </summary>
sealed class HeldMemory(Device device)
{
    const string NoCache = "PYTORCH_NO_CUDA_MEMORY_CACHING", MappedFrom = "MALLOC_MMAP_THRESHOLD_", TrimmedFrom = "MALLOC_TRIM_THRESHOLD_";

    readonly CudaClock? clock = device.type == DeviceType.CUDA ? new CudaClock() : null;

    /// <summary>Gets the environment variables that must be set before the process starts.</summary>
    public static IReadOnlyDictionary<string, string> Variables { get; } =
        new Dictionary<string, string> { [NoCache] = "1", [MappedFrom] = "65536", [TrimmedFrom] = "65536" };

    /// <summary>Gets whether this process was started with these variables.</summary>
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

    /// <summary>Returns the peak during the run, polled without pause. It is 0 in main memory, where polling is too slow.</summary>
    public long Most(Action work)
    {
        if (clock is null)
        {
            work();
            return 0;
        }
        long maxBytes = Quick();
        bool done = false;
        nint context = clock.Context;
        var watch = new Thread(() =>
        {
            clock.Context = context;
            while (!Volatile.Read(ref done)) maxBytes = Math.Max(maxBytes, Quick());
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
        return maxBytes;
    }

    // what is free on a GPU falls as more is held: only differences count
    long Quick() => clock is null ? long.Parse(File.ReadAllText("/proc/self/statm").Split(' ')[1]) * System.Environment.SystemPageSize
        : -clock.FreeBytes;
}
