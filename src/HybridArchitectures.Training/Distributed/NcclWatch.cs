using System.Diagnostics;
using System.Globalization;
using HybridArchitectures.Kernels.Runtime;

namespace HybridArchitectures.Training.Distributed;

/// <summary>
/// Watches the queued work of a communicator on a thread. Work that does not end in time, or that fails, is aborted, so that the program does not
/// wait for the GPU without end.
/// </summary>
sealed class NcclWatch : IDisposable
{
    static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(200);

    readonly Lock gate = new();
    readonly ManualResetEventSlim stopped = new();
    readonly NcclLibrary library;
    readonly nint communicator, mark;
    readonly CudaDevice device;
    readonly TimeSpan timeout;
    readonly string who;
    readonly Thread thread;
    nint stream;
    long issued, marked, markedAt;
    bool isMarked;

    /// <summary>Starts to watch.</summary>
    /// <param name="library">NCCL.</param>
    /// <param name="communicator">The communicator to abort.</param>
    /// <param name="device">Its device.</param>
    /// <param name="timeout">The time that queued work can take.</param>
    /// <param name="who">The name of this rank for messages.</param>
    public NcclWatch(NcclLibrary library, nint communicator, CudaDevice device, TimeSpan timeout, string who)
    {
        (this.library, this.communicator, this.device, this.timeout, this.who) = (library, communicator, device, timeout, who);
        nint made = 0;
        device.Within(() => made = CudaGraphDriver.CreateEvent());
        mark = made;
        thread = new Thread(Watch) { IsBackground = true, Name = "NCCL watch" };
        thread.Start();
    }

    /// <summary>Gets the message of the failure. Null if there was none.</summary>
    public string? Failure { get; private set; }

    /// <summary>Reports that work was queued on a stream.</summary>
    public void Issued(nint on)
    {
        lock (gate)
        {
            stream = on;
            issued++;
            if (!isMarked) Mark();
        }
    }

    void Mark()
    {
        device.Within(() => CudaGraphDriver.Record(mark, stream));
        (isMarked, marked, markedAt) = (true, issued, Stopwatch.GetTimestamp());
    }

    void Watch()
    {
        while (!stopped.Wait(Interval))
        {
            lock (gate)
            {
                if (Failure is null && Find() is { } failure) Fail(failure);
            }
        }
    }

    string? Find()
    {
        if (library.AsyncError(communicator) is { } error) return $"{who}: the exchange with another rank failed: {error}";
        if (!isMarked) return null;
        bool complete = false;
        device.Within(() => complete = CudaGraphDriver.IsComplete(mark));
        if (!complete)
            return Stopwatch.GetElapsedTime(markedAt) <= timeout ? null : string.Create(CultureInfo.InvariantCulture,
                $"{who} has waited {timeout.TotalSeconds:0.#} s for the others on its GPU; a rank is missing, hangs or has failed");
        isMarked = false;
        if (issued > marked) Mark();
        return null;
    }

    /// <summary>Aborts the work. Later operations report the failure.</summary>
    public void Fail(string message)
    {
        lock (gate)
        {
            if (Failure is not null) return;
            Failure = message;
            library.Abort(communicator);
        }
    }

    public void Dispose()
    {
        stopped.Set();
        thread.Join();
        stopped.Dispose();
        device.Within(() => CudaGraphDriver.DestroyEvent(mark));
    }
}
