using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Reference;

/// <summary>Implements the formula of <see cref="Operators.Rotary"/>, for any floating-point dtype and device, with libtorch's gradients.</summary>
public static class RotaryReference
{
    /// <summary>
    /// Rotates each pair (x[j], x[j + R/2]) by the angle of its row in the table. Dimensions after the first R of a head do not change.
    /// </summary>
    public static Tensor Forward(Tensor x, Tensor cosine, Tensor sine)
    {
        Require.Alive(x);
        Require.Alive(cosine);
        Require.Alive(sine);
        using var scope = NewDisposeScope();
        long half = cosine.size(-1), headSize = x.size(-1);
        var wide = Precision.Widen(x);
        var (first, second, rest) = (wide.narrow(-1, 0, half), wide.narrow(-1, half, half), wide.narrow(-1, 2 * half, headSize - 2 * half));
        var (cos, sin) = (cosine.unsqueeze(2), sine.unsqueeze(2));                                // (1 or B, L, 1, R/2)
        return cat([first * cos - second * sin, (second * cos).add(first * sin, Scalars.One), rest], -1).to(x.dtype).MoveToOuterDisposeScope();
    }
}
