using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>
/// Memory on a GPU that calls of <see cref="Operators.AttentionDecode.Forward"/> use again: counters that are 0 between calls. Without it, each call
/// sets its own counters to 0 by a launch. A CUDA graph may use it if no other call uses it while the graph runs.
/// </summary>
/// <remarks>Calls that share a workspace must follow each other on one stream. Keep it until they have ended.</remarks>
public sealed class AttentionDecodeWorkspace : IDisposable
{
    /// <summary>Specifies the maximum number of queries of a row.</summary>
    internal const int MaxQueries = 8;

    readonly Tensor counters;

    /// <summary>Initializes a workspace.</summary>
    /// <param name="batch">The maximum number of rows of a call, at least 1.</param>
    /// <param name="heads">The maximum number of query heads of a call, at least 1.</param>
    /// <param name="device">The device of the calls' tensors.</param>
    /// <exception cref="ArgumentOutOfRangeException">A number is below 1.</exception>
    public AttentionDecodeWorkspace(long batch, long heads, Device device)
    {
        ArgumentNullException.ThrowIfNull(device);
        Require.KnownDevice(device);
        Require.AtLeast(batch, 1);
        Require.AtLeast(heads, 1);
        counters = zeros([checked(batch * heads * MaxQueries)], ScalarType.Int32, device).DetachFromDisposeScope();
    }

    /// <summary>Returns zeros for this many groups of query heads.</summary>
    internal Tensor Arrivals(Tensor query, long groups)
    {
        if (counters.NumberOfElements < groups)
            throw Require.Unfit("workspace", $"workspace has room for {counters.NumberOfElements} counters", $"at least {groups}");
        Checks.SameDevice(counters, query, nameof(query), "workspace");
        return counters;
    }

    /// <inheritdoc/>
    public void Dispose() => counters.Dispose();
}
