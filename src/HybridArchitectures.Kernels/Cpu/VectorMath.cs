using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace HybridArchitectures.Kernels.Cpu;

/// <summary>
/// Elementary functions on eight floats, to one or two units in the last place, without tables or branches.
/// <para>
/// All rest on 2^x with x = n + r, |r| at most 1/2. Adding 1.5 * 2^23 rounds x to n and leaves n in the sum's lowest bits, from where a shift takes it to the
/// exponent: neither a rounding nor a conversion is needed, which cost two slots each where a sum costs one. 2^r is 1 + r q(r) with q of degree 4, fitted for the
/// least relative error (2^-23.1, coefficients rounded); 1 stays exact at r = 0.
/// </para>
/// </summary>
static class VectorMath
{
    public const float Log2E = 1.44269504f;
    const float Log2ERest = 1.925963033e-8f;        // log2(e) - Log2E
    const float Rounder = 12582912f;                // 1.5 * 2^23
    const float Least = -126;                       // of the exponents of normal numbers

    /// <summary>Below, <see cref="Exp"/> is no smaller.</summary>
    public const float MinLogarithm = -87.33f;

    /// <summary>The largest |x| that needs no limit before <see cref="Power"/>.</summary>
    public const float Unlimited = 126;

    /// <summary>2^x; below -126 it stays at the smallest normal number, from 128 on it is infinite. NaN stays NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Exp2(Vector256<float> x)
    {
        x = Limited(x, Least, 128);         // 128 exactly: r is 0, and no mantissa makes a NaN of infinity
        var shifted = x + Vector256.Create(Rounder);
        return Power(shifted, x - (shifted - Vector256.Create(Rounder)));
    }

    /// <summary>2^(x y), the product unrounded. |x y| must be at most <see cref="Unlimited"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Exp2Product(Vector256<float> x, Vector256<float> y)
    {
        var shifted = Vector256.MultiplyAddEstimate(x, y, Vector256.Create(Rounder));
        return Power(shifted, Vector256.MultiplyAddEstimate(x, y, Vector256.Create(Rounder) - shifted));
    }

    /// <summary>The same for any x and y, to the bit where both serve; beyond, about 2^-126 and 2^127. NaN stays NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Exp2AnyProduct(Vector256<float> x, Vector256<float> y)
    {
        var shifted = Limited(Vector256.MultiplyAddEstimate(x, y, Vector256.Create(Rounder)), Rounder + Least, Rounder + 127);
        return Power(shifted, Limited(Vector256.MultiplyAddEstimate(x, y, Vector256.Create(Rounder) - shifted), -0.5f, 0.5f));
    }

    /// <summary>e^x; below -87.3 it stays at the smallest normal number and above 88.7 at the largest. NaN stays NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Exp(Vector256<float> x)
    {
        x = Limited(x, MinLogarithm, 88.7228f);
        var shifted = Vector256.MultiplyAddEstimate(x, Vector256.Create(Log2E), Vector256.Create(Rounder));
        var r = Vector256.MultiplyAddEstimate(x, Vector256.Create(Log2E), Vector256.Create(Rounder) - shifted);
        return Power(shifted, Vector256.MultiplyAddEstimate(x, Vector256.Create(Log2ERest), r));
    }

    /// <summary>2^(n + r), with n in the lowest bits of <paramref name="shifted"/>; where both are NaN those bits are 0 and NaN it stays.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector256<float> Power(Vector256<float> shifted, Vector256<float> r)
    {
        var p = Vector256.MultiplyAddEstimate(Vector256.Create(1.32647273e-3f), r, Vector256.Create(9.67151299e-3f));
        p = Vector256.MultiplyAddEstimate(p, r, Vector256.Create(5.55073358e-2f));
        p = Vector256.MultiplyAddEstimate(p, r, Vector256.Create(0.240222424f));
        p = Vector256.MultiplyAddEstimate(p, r, Vector256.Create(0.693147004f));
        p = Vector256.MultiplyAddEstimate(p, r, Vector256<float>.One);
        return (p.AsInt32() + (shifted.AsInt32() << 23)).AsSingle();
    }

    // by comparisons: of which operand a plain minimum makes its result where one is NaN, the compiler makes no promise
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector256<float> Limited(Vector256<float> x, float least, float most)
    {
        x = Vector256.ConditionalSelect(Vector256.LessThan(x, Vector256.Create(least)), Vector256.Create(least), x);
        return Vector256.ConditionalSelect(Vector256.GreaterThan(x, Vector256.Create(most)), Vector256.Create(most), x);
    }

    /// <summary>1 / (1 + e^-x).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Sigmoid(Vector256<float> x) => Vector256<float>.One / (Vector256<float>.One + Exp2(x * Vector256.Create(-Log2E)));

    /// <summary>The derivative of x sigmoid(x), given sigmoid(x).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> SiluSlope(Vector256<float> x, Vector256<float> sigmoid) =>
        sigmoid * Vector256.MultiplyAddEstimate(x, Vector256<float>.One - sigmoid, Vector256<float>.One);

    /// <summary>log(1 + e^x), with full relative accuracy also where it is tiny.</summary>
    /// <remarks>max(x, 0) + log(1 + u) with u = e^-|x|; log(1 + u) = 2 artanh(s), s = u / (2 + u), at most 1/3: s (2 + q P(q)) with q = s^2, fitted to 2^-27.</remarks>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Softplus(Vector256<float> x)
    {
        var u = Exp(-Vector256.Abs(x));
        var s = u / (Vector256.Create(2f) + u);
        var q = s * s;
        var p = Vector256.MultiplyAddEstimate(Vector256.Create(0.280119866f), q, Vector256.Create(0.280018061f));
        p = Vector256.MultiplyAddEstimate(p, q, Vector256.Create(0.400215268f));
        p = Vector256.MultiplyAddEstimate(p, q, Vector256.Create(0.666664183f));
        p = Vector256.MultiplyAddEstimate(p, q, Vector256.Create(2f));
        return Vector256.MultiplyAddEstimate(p, s, Vector256.AndNot(x, Vector256.LessThan(x, Vector256<float>.Zero)));
    }

    /// <summary>The derivative of <see cref="Softplus"/> where it has this value: 1 - e^-value, by its series where that would cancel.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> SoftplusSlope(Vector256<float> value)
    {
        var series = Vector256.MultiplyAddEstimate(value, Vector256.Create(-1 / 24f), Vector256.Create(1 / 6f));
        series = Vector256.MultiplyAddEstimate(series, -value, Vector256.Create(0.5f));
        series = Vector256.MultiplyAddEstimate(series, -value, Vector256<float>.One) * value;
        return Vector256.ConditionalSelect(Vector256.LessThan(value, Vector256.Create(0.03125f)), series,
            Vector256<float>.One - Exp2(value * Vector256.Create(-Log2E)));
    }
}
