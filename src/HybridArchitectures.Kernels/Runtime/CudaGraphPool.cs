using System.Collections.Concurrent;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>
/// The stream of a device on which work is captured as graphs, and the memory that graphs use.
/// <para>
/// 1. A graph holds addresses of temporaries that libtorch's allocator considers free once the capture is over. They lie in free blocks of this
/// stream, which nothing but captures allocates on, so nobody else is given them.
/// 2. The allocator may return whole free segments to the driver when memory is short, and a later launch would touch unmapped memory. In each
/// segment that captures use, therefore, a small block ("anchor") stays allocated.
/// 3. Work runs once eagerly on this stream before it is captured. If the allocator asked the driver for memory during this, the anchored segments
/// were too small: there are more from then on, and the work is to run again before a capture. The driver counts other processes too, so the
/// segments added are bounded by what was missing.
/// 4. Graphs of a device share their temporaries, so they never run at the same time as each other or as work on this stream: launches and work
/// take a lock on the host, and are ordered by libtorch's current stream on the device.
/// </para>
/// </summary>
sealed class CudaGraphPool
{
    const long Megabyte = 1 << 20, LargeBlock = 48 * Megabyte, AnchorBytes = 2 * Megabyte, MinBlock = 512;
    const int SmallSegments = 12, MaxTries = 64;

    static readonly ConcurrentDictionary<int, Lazy<CudaGraphPool>> Pools = new();

    readonly Lock gate = new();
    readonly CudaDevice device;
    readonly Device torchDevice;
    readonly List<Tensor> anchors = [];
    readonly nint stream, before, after, launched;
    nint latest;
    long growth = 1;

    CudaGraphPool(int index)
    {
        device = CudaRuntime.DeviceAt(index);
        torchDevice = new Device(TorchSharp.DeviceType.CUDA, index);
        nint own = 0, first = 0, second = 0, third = 0;
        device.Within(() => (own, first, second, third) = (CudaGraphDriver.CreateStream(), CudaGraphDriver.CreateEvent(),
            CudaGraphDriver.CreateEvent(), CudaGraphDriver.CreateEvent()));
        (stream, before, after, launched) = (own, first, second, third);
    }

    /// <summary>Returns the pool of a device.</summary>
    public static CudaGraphPool For(int device) => Pools.GetOrAdd(device, index => new(() => new CudaGraphPool(index))).Value;

    /// <summary>Returns the reason why graphs are not available in this process, or null if they are.</summary>
    public static string? Refusal()
    {
        string settings = Environment.GetEnvironmentVariable("PYTORCH_CUDA_ALLOC_CONF") + Environment.GetEnvironmentVariable("PYTORCH_ALLOC_CONF");
        return settings.Contains("expandable_segments:True", StringComparison.OrdinalIgnoreCase) || settings.Contains("backend:cudaMallocAsync",
            StringComparison.Ordinal)
            ? "the allocator is set to expandable segments or cudaMallocAsync, whose memory cannot be held for graphs" : null;
    }

    /// <summary>Runs work once on the pool's stream; whether it found all its memory there, so that it may be captured next.</summary>
    public bool Run(Action work)
    {
        bool fits = false;
        OnStream(() =>
        {
            if (anchors.Count == 0) Grow(0);
            long free = CudaGraphDriver.FreeMemory();
            work();
            long missing = free - CudaGraphDriver.FreeMemory();
            fits = missing < Megabyte;
            if (!fits) Grow(missing);
        });
        return fits;
    }

    /// <summary>Captures work, which is not run: <see cref="CudaGraph.Launch"/> does.</summary>
    public CudaGraph Capture(Action work)
    {
        CudaGraph? graph = null;
        OnStream(() =>
        {
            CudaGraphDriver.BeginCapture(stream);
            try
            {
                work();
            }
            catch
            {
                CudaGraphDriver.AbandonCapture(stream);
                throw;
            }
            var (executable, nodes) = CudaGraphDriver.EndCapture(stream);
            graph = new CudaGraph(this, executable, nodes);
        });
        return graph!;
    }

    internal void Launch(CudaGraph graph)
    {
        bool held = false;
        lock (gate)
        {
            try
            {
                graph.DangerousAddRef(ref held);
                device.Within(() =>
                {
                    // after work on this pool that another stream has launched
                    nint current = LibTorchCuda.CurrentStream(device.Index);
                    if (current != latest && latest != 0) CudaGraphDriver.Wait(current, launched);
                    CudaGraphDriver.Launch(graph.DangerousGetHandle(), current);
                    CudaGraphDriver.Record(launched, current);
                    latest = current;
                });
            }
            finally
            {
                if (held) graph.DangerousRelease();
            }
        }
    }

    // after what is queued on the current stream, and before what will be
    void OnStream(Action work)
    {
        lock (gate)
        {
            using var guard = LibTorchCuda.On(device.Index);
            device.Within(() =>
            {
                nint current = LibTorchCuda.CurrentStream(device.Index);
                CudaGraphDriver.Record(before, current);
                CudaGraphDriver.Wait(stream, before);
                if (latest != 0) CudaGraphDriver.Wait(stream, launched);
                LibTorchCuda.SetStream(stream, device.Index);
                CudaDevice.Overlaps = true;
                try
                {
                    work();
                }
                finally
                {
                    CudaDevice.Overlaps = false;
                    LibTorchCuda.SetStream(current, device.Index);
                    CudaGraphDriver.Record(after, stream);
                    CudaGraphDriver.Wait(current, after);
                }
            });
        }
    }

    /// <summary>
    /// Returns the number of times <see cref="LargeBlock"/> by which the segments grow: twice as much each time, but at most twice what was missing.
    /// </summary>
    internal static long NextGrowth(long growth, long missing) => Math.Min(growth, Math.Max(1, 2 * missing / LargeBlock));

    // segments with room, in each of which a block stays
    void Grow(long missing)
    {
        growth = NextGrowth(growth, missing);
        Empty(growth * LargeBlock).Dispose();
        anchors.Add(Empty(AnchorBytes));
        for (int segment = 0; segment < growth * SmallSegments; segment++)
        {
            using Tensor first = Empty(Megabyte), second = Empty(Megabyte - MinBlock);
            long begin = TensorMemory.Pointer(first), rest = TensorMemory.Pointer(second);
            if (rest != begin + Megabyte) continue;         // blocks of other segments: those have their anchor
            for (int i = 0; i < MaxTries; i++)
            {
                anchors.Add(Empty(MinBlock));
                if (TensorMemory.Pointer(anchors[^1]) is var at && at >= begin && at < begin + 2 * Megabyte) break;
            }
        }
        growth *= 2;
    }

    Tensor Empty(long bytes) => empty([bytes], ScalarType.Byte, torchDevice).DetachFromDisposeScope();
}
