using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Reference;

/// <summary><see cref="SwiGlu"/> as its formula reads, for any floating type and device, with libtorch's gradients.</summary>
public static class SwiGluReference
{
    /// <summary>silu(gate) * up.</summary>
    public static Tensor Forward(Tensor gate, Tensor up)
    {
        ArgumentNullException.ThrowIfNull(gate);
        ArgumentNullException.ThrowIfNull(up);
        using var scope = NewDisposeScope();
        return (nn.functional.silu(Precision.Widen(gate)) * Precision.Widen(up)).to(gate.dtype).MoveToOuterDisposeScope();
    }
}
