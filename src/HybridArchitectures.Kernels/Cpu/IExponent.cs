using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace HybridArchitectures.Kernels.Cpu;

/// <summary>Decays of a scan whose exponents are known to need no limits, and of one where they may: two instances of one loop, equal to the bit where both serve.</summary>
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

/// <summary>Any exponents, NaN among them.</summary>
readonly struct AnyExponent : IExponent
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Exp2(Vector256<float> step, Vector256<float> rate) => VectorMath.Exp2AnyProduct(step, rate);
}
