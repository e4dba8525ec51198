using System.Collections.Concurrent;
using System.Diagnostics.Tracing;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>
/// Reports events of the operators through the event source <c>HybridArchitectures-Kernels</c>: which back end an operator uses (once for each
/// combination of operator, back end, type and device), and which kernels were compiled and how long it took. Without a listener, a call costs one
/// comparison.
/// </summary>
[EventSource(Name = SourceName)]
sealed class KernelEvents : EventSource
{
    public const string SourceName = "HybridArchitectures-Kernels";

    public static readonly KernelEvents Log = new();

    readonly ConcurrentDictionary<(string, string, ScalarType, string), bool> told = new();

    /// <summary>Reports a choice if it has not been reported before. The choice is computed only if there is a listener.</summary>
    [NonEvent]
    public void Chosen(string op, Func<string> choice, Tensor x)
    {
        if (!IsEnabled(EventLevel.Informational, EventKeywords.None)) return;
        var (chosen, device) = (choice(), x.device.ToString());
        if (told.TryAdd((op, chosen, x.dtype, device), true)) BackendChosen(op, chosen, x.dtype.ToString(), device);
    }

    [Event(1, Level = EventLevel.Informational, Message = "{0}: back end {1} for {2} on {3}")]
    void BackendChosen(string op, string backend, string type, string device) => WriteEvent(1, op, backend, type, device);

    /// <summary>Reports that a source was compiled because it was not on disk.</summary>
    [Event(2, Level = EventLevel.Informational, Message = "{0} compiled for {1} in {2} ms")]
    public void KernelCompiled(string source, string architecture, long milliseconds) => WriteEvent(2, source, architecture, milliseconds);

    /// <summary>Reports once why decoding does not run as captured graphs.</summary>
    [NonEvent]
    public void EagerSteps(string reason)
    {
        if (IsEnabled(EventLevel.Warning, EventKeywords.None) && told.TryAdd(("decoding", reason, default, ""), true)) DecodingIsEager(reason);
    }

    [Event(3, Level = EventLevel.Warning, Message = "decoding launches every kernel of a step by itself: {0}")]
    void DecodingIsEager(string reason) => WriteEvent(3, reason);

    /// <summary>Reports everything again to a new listener.</summary>
    protected override void OnEventCommand(EventCommandEventArgs command)
    {
        if (command.Command == EventCommand.Enable) told.Clear();
    }
}
