using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cpu;

/// <summary>
/// Addresses the heads of a tensor (batch, tokens, heads, size) whose last dimension has no gaps. The caller keeps the tensor alive.
/// </summary>
readonly unsafe struct HeadRows(Tensor x)
{
    readonly long row = x.stride(0), token = x.stride(1), head = x.stride(2);
    readonly byte* memory = (byte*)TensorMemory.Pointer(x);

    public long Heads { get; } = x.size(2);

    public long Size { get; } = x.size(3);

    public byte* At<TElement>(long row, long token, long head) where TElement : struct, IElement =>
        memory + (row * this.row + token * this.token + head * this.head) * TElement.Size;

    /// <summary>Returns the distance between tokens in bytes.</summary>
    public long TokenBytes<TElement>() where TElement : struct, IElement => token * TElement.Size;
}
