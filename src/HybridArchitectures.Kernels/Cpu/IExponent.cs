using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace HybridArchitectures.Kernels.Cpu;

/// <summary>
/// Selects one of two instances of a loop: decays of a scan whose exponents are known to need no limits, and decays whose exponents may need them.
/// Both return bit-identical results where both apply.
/// </summary>
interface IExponent
{
    static abstract Vector256<float> Exp2(Vector256<float> step, Vector256<float> rate);
}

/// <summary>Every |step * rate| is at most <see cref="VectorMath.Unlimited"/>.</summary>
readonly struct BoundedExponent : IExponent
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Exp2(Vector256<float> step, Vector256<float> rate) => VectorMath.Exp2Product(step, rate);
}

/// <summary>Supports all exponents, including NaN.</summary>
readonly struct AnyExponent : IExponent
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Exp2(Vector256<float> step, Vector256<float> rate) => VectorMath.Exp2AnyProduct(step, rate);
}
