using HybridArchitectures.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>Sets values of groups without rows to 0 on a GPU, with the kernel in <c>EmptyGroups.cu</c>.</summary>
static class EmptyGroupsCuda
{
    // the kernel numbers groups by the second dimension of the grid
    const long Threads = 256, MaxBlocks = 64, MaxGroups = ushort.MaxValue, Piece = 16;

    struct Arguments
    {
        public nint Values, Ends;
        public long Pieces;
    }

    /// <summary>Returns whether the kernel takes values (groups, ...).</summary>
    public static bool Serves(Tensor values) =>
        (values.device_type == DeviceType.CUDA || CudaRuntime.Emulated) && values.is_contiguous() && values.size(0) is > 0 and <= MaxGroups
        && values.NumberOfElements > 0 && Bytes(values) % Piece == 0 && CudaMemory.Address(values) % Piece == 0;

    /// <summary>Sets the values of each group without rows to 0, and leaves the others as they are.</summary>
    /// <param name="values">(groups, ...), which <see cref="Serves"/> accepts.</param>
    /// <param name="ends">The end of each group, (groups) int32.</param>
    public static void Clear(Tensor values, Tensor ends)
    {
        using var scope = NewDisposeScope();
        ends = ends.contiguous();
        long pieces = Bytes(values) / Piece, blocks = Math.Min(MaxBlocks, (pieces + Threads - 1) / Threads);
        var arguments = new Arguments { Values = CudaMemory.Address(values), Ends = CudaMemory.Address(ends), Pieces = pieces };
        CudaRuntime.DeviceOf(values).Launch("EmptyGroups.cu", "empty_groups", (blocks, values.size(0), 1), (int)Threads, 0, arguments);
        GC.KeepAlive((values, ends));
    }

    // of one group
    static long Bytes(Tensor values) => values.NumberOfElements / values.size(0) * values.ElementSize;
}
