using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda.Attention;

/// <summary>Launches the kernels of <c>AttentionWarpForward.cu</c>, in which single warps multiply (compute capability 8.0 and later).</summary>
sealed class AttentionWarpCall(CudaDevice device, AttentionInputs inputs, Tensor? bounds) : AttentionCall(device, inputs, bounds)
{
    readonly AttentionWarpShape shape = AttentionWarpShape.Forward(inputs.Query.size(3), inputs.Value.size(3), inputs.Sinks > 0,
        inputs.Softcap is not null, device.SharedMemory);

    protected override KernelVariant ForwardVariant => shape.Variant;

    protected override CudaTensorMap Map(nint address, (long Rows, long Tokens, long Heads, long Elements) sizes,
        (long Row, long Token, long Head) strides) => CudaTensorMap.OfNumbers(address, sizes, strides);

    protected override void LaunchForward(AttentionArguments arguments)
    {
        long blocks = arguments.Batch * arguments.Heads * ((arguments.Queries + shape.Rows - 1) / shape.Rows);
        Launch(shape.Variant, "forward", (blocks, 1, 1), shape.Threads, shape.Shared, arguments);
    }

    protected override void LaunchBackward(AttentionArguments arguments) => throw new NotSupportedException();
}
