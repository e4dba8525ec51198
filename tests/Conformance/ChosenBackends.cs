using System.Collections.Concurrent;
using System.Diagnostics.Tracing;

namespace HybridArchitectures.Conformance;

/// <summary>Records which back end served which operator, from the event source of the library.</summary>
sealed class ChosenBackends : EventListener
{
    readonly ConcurrentDictionary<string, bool> seen = new();

    protected override void OnEventSourceCreated(EventSource source)
    {
        if (source.Name == "HybridArchitectures-Kernels") EnableEvents(source, EventLevel.Informational);
    }

    protected override void OnEventWritten(EventWrittenEventArgs written)
    {
        if (written is { EventId: 1, Payload: [var op, var backend, ..] }) seen.TryAdd($"{op} {backend}", true);
    }

    public override string ToString() => string.Join(", ", seen.Keys.Order(StringComparer.Ordinal));
}
