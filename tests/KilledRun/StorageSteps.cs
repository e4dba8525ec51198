using System.Diagnostics;
using System.Diagnostics.Tracing;

namespace KilledRun;

/// <summary>Acts after every step of an atomic write, on the thread that writes.</summary>
sealed class StorageSteps(Action act) : EventListener
{
    readonly Action act = act;

    /// <summary>Kills this process at the given step, counted from 1. Zero means never.</summary>
    public static StorageSteps KillAt(int step) => new(() =>
    {
        if (Interlocked.Decrement(ref step) == 0) Process.GetCurrentProcess().Kill();
    });

    protected override void OnEventSourceCreated(EventSource eventSource)
    {
        if (eventSource.Name == "HybridArchitectures-Storage") EnableEvents(eventSource, EventLevel.Verbose);
    }

    protected override void OnEventWritten(EventWrittenEventArgs eventData) => act();
}
