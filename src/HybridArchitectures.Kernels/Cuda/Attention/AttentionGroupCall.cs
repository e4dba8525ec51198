using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda.Attention;

/// <summary>
/// Launches the kernels of <c>AttentionForward.cu</c> and <c>AttentionBackward.cu</c>, in which four warps together multiply (compute capability
/// 9.0).
/// </summary>
sealed class AttentionGroupCall(CudaDevice device, AttentionInputs inputs, Tensor? bounds) : AttentionCall(device, inputs, bounds)
{
    // the bytes of the second-level cache for the sums of dQ of the heads that are processed together
    const long SumsAtATime = 64L << 20;

    readonly AttentionShape shape = AttentionShape.For(inputs.Query.size(3), inputs.Value.size(3), inputs.Sinks > 0, inputs.Softcap is not null,
        device.SharedMemory);

    protected override KernelVariant ForwardVariant => shape.Forward;

    protected override CudaTensorMap Map(nint address, (long Rows, long Tokens, long Heads, long Elements) sizes,
        (long Row, long Token, long Head) strides) => Device.TensorMap(address, sizes, strides);

    protected override void LaunchForward(AttentionArguments arguments)
    {
        long tiles = arguments.Batch * arguments.Heads * ((arguments.Queries + shape.Queries - 1) / shape.Queries);
        Launch(shape.Forward, "forward", (Math.Min(tiles, Device.Multiprocessors), 1, 1), shape.ForwardThreads, shape.ForwardShared, arguments);
    }

    protected override void LaunchBackward(AttentionArguments arguments)
    {
        long tile = shape.QueryTile, queryBlocks = (arguments.Queries + tile - 1) / tile;
        long keyBlocks = (arguments.Keys + AttentionShape.BackwardKeys - 1) / AttentionShape.BackwardKeys;
        long lines = arguments.Batch * arguments.Heads;
        // counters and block numbers are integers in memory that is declared as float32
        var (sums, counters) = (Single(lines * queryBlocks * shape.SumsSize), Single(lines * queryBlocks + 1));
        var visitors = HasBounds ? Single(arguments.Batch * keyBlocks * 2) : null;
        arguments.Visitors = CudaMemory.Address(visitors);
        (arguments.DQuerySums, arguments.Turns) = (CudaMemory.Address(sums), CudaMemory.Address(counters));
        arguments.Ticket = arguments.Turns + (nint)(lines * queryBlocks * sizeof(int));
        arguments.Together = Together(arguments);
        Launch(shape.Backward, "prepare", ((lines * Rounded(arguments.Queries, 128) + 31) / 32, 1, 1), 256, 0, arguments);
        if (visitors is not null) Launch(shape.Backward, "visitors", ((queryBlocks + 127) / 128, arguments.Batch, 1), 128, 0, arguments);
        Launch(shape.Backward, "backward", (arguments.Batch * arguments.KeyHeads * keyBlocks, 1, 1), shape.BackwardThreads, shape.BackwardShared,
            arguments);
        long rows = ushort.MaxValue / arguments.Heads;
        Launch(shape.Backward, "finish",
            (queryBlocks * (tile / 64), arguments.Heads * Math.Min(arguments.Batch, rows), (arguments.Batch + rows - 1) / rows), 128, 0, arguments);
        GC.KeepAlive((sums, counters, visitors));
    }

    // Blocks of one head add to the same sums one after another. If few heads are processed at a time, the sums stay in the second-level cache. With
    // windows and documents, each part of the sums is used only a few times.
    long Together(in AttentionArguments arguments)
    {
        long lines = arguments.Batch * arguments.KeyHeads;
        if (HasBounds || arguments.Window < Unbounded) return lines;
        long bytes = arguments.Heads / arguments.KeyHeads * arguments.Queries * arguments.QuerySize * sizeof(float);
        return Math.Clamp(SumsAtATime / bytes, Math.Min(4, lines), lines);
    }
}
