using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda.Attention;

/// <summary>
/// Launches the kernels of <c>AttentionWarpForward.cu</c>, <c>AttentionWarpBackward.cu</c>, <c>AttentionWideKeyGradients.cu</c> and
/// <c>AttentionWideQueryGradients.cu</c>, in which single warps multiply (compute capability 8.0 and later).
/// </summary>
sealed class AttentionWarpCall(CudaDevice device, AttentionInputs inputs, Tensor? bounds) : AttentionCall(device, inputs, bounds)
{
    readonly AttentionWarpShape forward = AttentionWarpShape.Forward(inputs.Query.size(3), inputs.Value.size(3), inputs.Sinks > 0,
        inputs.Softcap is not null, SharedMemoryOf(device));

    protected override KernelVariant ForwardVariant => forward.Variant;

    protected override CudaTensorMap Map(nint address, (long Rows, long Tokens, long Heads, long Elements) sizes,
        (long Row, long Token, long Head) strides) => CudaTensorMap.OfNumbers(address, sizes, strides);

    protected override void LaunchForward(AttentionArguments arguments)
    {
        long blocks = arguments.Batch * arguments.Heads * ((arguments.Queries + forward.Rows - 1) / forward.Rows);
        Launch(forward.Variant, "forward", (blocks, 1, 1), forward.Threads, forward.ForwardShared, arguments);
    }

    protected override void LaunchBackward(AttentionArguments arguments)
    {
        var (keys, queries) = GradientKernels();
        long lines = arguments.Batch * arguments.Heads, steps = (arguments.Queries + keys.Tile - 1) / keys.Tile;
        long queryBlocks = queries.Blocks(arguments.Queries), keyBlocks = keys.Blocks(arguments.Keys);
        // block numbers are integers in memory that is declared as float32
        var visitors = HasBounds ? Single(arguments.Batch * keyBlocks * 2) : null;
        arguments.Visitors = CudaMemory.Address(visitors);
        Launch(keys.Variant, "prepare", ((lines * Rounded(arguments.Queries, 128) + 31) / 32, 1, 1), 256, 0, arguments);
        if (visitors is not null) Launch(keys.Variant, "visitors", ((steps + 127) / 128, arguments.Batch, 1), 128, 0, arguments);
        arguments.Together = arguments.Window < Unbounded ? 4 : arguments.Batch * arguments.KeyHeads;
        Launch(keys.Variant, "key_gradients", (arguments.Batch * arguments.KeyHeads * keyBlocks, 1, 1), keys.Threads, keys.SharedMemory, arguments);
        arguments.Together = arguments.Window < Unbounded ? 4 : lines;
        Launch(queries.Variant, "query_gradients", (lines * queryBlocks, 1, 1), queries.Threads, queries.SharedMemory, arguments);
        GC.KeepAlive(visitors);
    }

    static int SharedMemoryOf(CudaDevice device) => Math.Min(device.SharedMemory, OperatorOptions.Current.Thresholds.AttentionSharedMemory);

    (AttentionGradientKernel Keys, AttentionGradientKernel Queries) GradientKernels()
    {
        var (headSize, valueSize, sinks, capped) = (forward.HeadSize, forward.ValueSize, forward.Sinks, forward.Capped);
        int memory = SharedMemoryOf(Device);
        if (AttentionShape.IsWide(headSize, valueSize))
            return (AttentionWideShape.Keys(headSize, valueSize, sinks, capped, memory).Kernel,
                AttentionWideShape.Queries(headSize, valueSize, sinks, capped, memory).Kernel);
        var shape = AttentionWarpShape.Backward(headSize, valueSize, sinks, capped, memory);
        return (shape.KeyGradients, shape.QueryGradients);
    }
}
