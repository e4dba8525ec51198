using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Reference;

/// <summary>Implements the formula of <see cref="Operators.SwiGlu"/>, for any floating-point dtype and device, with libtorch's gradients.</summary>
public static class SwiGluReference
{
    /// <summary>Computes silu(gate) * up.</summary>
    public static Tensor Forward(Tensor gate, Tensor up)
    {
        Require.Alive(gate);
        Require.Alive(up);
        using var scope = NewDisposeScope();
        return (nn.functional.silu(Precision.Widen(gate)) * Precision.Widen(up)).to(gate.dtype).MoveToOuterDisposeScope();
    }
}
