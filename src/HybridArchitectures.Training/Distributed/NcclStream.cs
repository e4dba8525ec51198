using HybridArchitectures.Kernels.Runtime;

namespace HybridArchitectures.Training.Distributed;

/// <summary>
/// Represents a stream for operations of NCCL that run while the current stream of libtorch computes. Events order the two: operations start after
/// the work that the current stream had when they were queued, and later work of the current stream waits for them where <see cref="Wait"/> says so.
/// </summary>
sealed class NcclStream : IDisposable
{
    readonly CudaDevice device;
    readonly Stack<nint> free = [];
    readonly List<nint> events = [];
    readonly nint stream;

    public NcclStream(CudaDevice device)
    {
        this.device = device;
        nint made = 0;
        device.Within(() => made = CudaGraphDriver.CreateStream());
        stream = made;
    }

    /// <summary>Lets the stream wait for the present work of another one, and returns it.</summary>
    public nint Begin(nint other)
    {
        device.Within(() =>
        {
            nint ready = Take();
            CudaGraphDriver.Record(ready, other);
            CudaGraphDriver.Wait(stream, ready);
            free.Push(ready);       // a later record does not affect a wait that is queued
        });
        return stream;
    }

    /// <summary>Returns the event of the present work of the stream, for <see cref="Wait"/>.</summary>
    public nint End()
    {
        nint done = 0;
        device.Within(() =>
        {
            done = Take();
            CudaGraphDriver.Record(done, stream);
        });
        return done;
    }

    /// <summary>Lets another stream wait for an event of this one. The event cannot be used again.</summary>
    public void Wait(nint other, nint done) => device.Within(() =>
    {
        CudaGraphDriver.Wait(other, done);
        free.Push(done);
    });

    nint Take()
    {
        if (free.TryPop(out nint one)) return one;
        events.Add(CudaGraphDriver.CreateEvent());
        return events[^1];
    }

    public void Dispose() => device.Within(() =>
    {
        foreach (nint one in events) CudaGraphDriver.DestroyEvent(one);
        events.Clear();
        free.Clear();
    });
}
