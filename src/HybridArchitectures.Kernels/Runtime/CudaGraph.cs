using System.Runtime.InteropServices;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>Launches captured once, to be launched again together. It belongs to the pool whose memory it uses.</summary>
sealed class CudaGraph : SafeHandle
{
    readonly CudaGraphPool pool;

    internal CudaGraph(CudaGraphPool pool, nint executable, long nodes) : base(0, ownsHandle: true)
    {
        (this.pool, Nodes) = (pool, nodes);
        SetHandle(executable);
    }

    /// <summary>Gets the number of kernels, copies and fills in the graph.</summary>
    public long Nodes { get; }

    public override bool IsInvalid => handle == 0;

    /// <summary>Launches everything on the stream that is libtorch's current one.</summary>
    public void Launch() => pool.Launch(this);

    protected override bool ReleaseHandle()
    {
        CudaGraphDriver.Destroy(handle);
        return true;
    }
}
