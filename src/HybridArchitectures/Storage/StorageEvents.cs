using System.Diagnostics.Tracing;

namespace HybridArchitectures.Storage;

/// <summary>
/// Reports the steps of atomic writes to tools such as <c>dotnet-trace</c>, under the name <c>HybridArchitectures-Storage</c>. Listeners inside the
/// process are called on the writing thread, between this step and the next.
/// </summary>
[EventSource(Name = "HybridArchitectures-Storage")]
sealed class StorageEvents : EventSource
{
    public static readonly StorageEvents Log = new();

    StorageEvents()
    {
    }

    /// <summary>Reports a step of writing a file or folder.</summary>
    [Event(1, Level = EventLevel.Verbose, Message = "{0}: {1}")]
    public void Step(string path, string step)
    {
        if (IsEnabled()) WriteEvent(1, path, step);
    }
}
