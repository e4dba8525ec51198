using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>The gated activation of SwiGLU feed-forward layers (arXiv 2002.05202).</summary>
public static class SwiGlu
{
    /// <summary>silu(gate) * up.</summary>
    /// <param name="gate">Any shape, floating point. Computed in float32 for bfloat16 input, rounded once at the end.</param>
    /// <param name="up">Shape and type of <paramref name="gate"/>.</param>
    /// <returns>Shape and type of <paramref name="gate"/>.</returns>
    /// <exception cref="ArgumentException">A shape, type or device is not as said above.</exception>
    public static Tensor Forward(Tensor gate, Tensor up)
    {
        Checks.Floating(gate);
        Checks.SameShape(up, gate, nameof(gate));
        Checks.Type(up, gate.dtype);
        Checks.SameDevice(up, gate, nameof(gate));
        return SwiGluReference.Forward(gate, up);
    }
}
